"""Connections of the engine: a session's own, and those that wait for the next request of the same kind.

To open one and tell it database and settings takes as long as a small query, and a client asks in the same way again
and again. So one on which a statement went well waits for whoever wants just what it was told.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from infra.local.warehouse.engine import Engine, quoted, quoted_name
from infra.local.warehouse.sessions import Session

_MAX_IDLE: Final = 16


class _Setting(msgspec.Struct):
    name: str
    value: str


_settings: Final = msgspec.json.Decoder(_Setting)


class Told(NamedTuple):
    """What a connection was told before any statement."""

    database: str
    settings: frozenset[tuple[str, str]]


class Connection(NamedTuple):
    """One of chDB's, and the mark by which whatever runs on it is found and killed."""

    chdb: Any
    tag: str

    def close(self) -> None:
        """Close it; nothing may be open on it: chDB dies when a connection closes under a stream."""
        self.chdb.close()


class Connections:
    """Opens connections and keeps those that may serve again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: OrderedDict[str, tuple[Told, Connection]] = OrderedDict()  # by tag, the one used last at the end
        self._numbers = count(1)

    def close(self) -> None:
        """Close those that wait."""
        for _, connection in self._idle.values():
            connection.close()
        self._idle.clear()

    @asynccontextmanager
    async def lent(self, told: Told, *, again: bool) -> AsyncIterator[Connection]:
        """Own a connection for the block that was *told* just this; lend it *again* when all went well.

        Raises:
            QueryError: no such database or setting, or a setting that is fixed.
        """
        connection = self._take(told) or await self._open(told.database, dict(told.settings))
        try:
            yield connection
        except BaseException:
            await self._engine.call("", connection.close)
            raise
        if not again:
            await self._engine.call("", connection.close)
        elif (spare := self._keep(told, connection)) is not None:
            await self._engine.call("", spare.close)

    @asynccontextmanager
    async def of_session(
        self, session: Session, database: str | None, settings: Mapping[str, str], *, read_only: bool
    ) -> AsyncIterator[Connection]:
        """Own the session's connection for the block; *settings* are what they were when the block ends.

        Raises:
            QueryError: as `lent`.
        """
        if session.connection is None:
            session.connection = await self._open(self._engine.database, {"readonly": "2"} if read_only else {})
        connection: Connection = session.connection
        ask = connection.chdb.query
        # Under no tag: what tells the connection, and what takes that back, is not to be killed with the statement.
        if database:
            await self._engine.call("", ask, f"USE {quoted_name(database)}")
        undo = await self._engine.call("", _restoring, connection.chdb, settings) if settings else ""
        try:
            if settings:
                await self._engine.call("", ask, _set(settings))
            yield connection
        finally:
            if undo:
                await self._engine.call("", ask, undo)

    async def _open(self, database: str, settings: dict[str, str]) -> Connection:
        tag = f"connection {next(self._numbers)}"
        statements = (f"USE {quoted_name(database)}", _set(settings | {"log_comment": tag}))
        return Connection(await self._engine.connect(statements), tag)

    def _take(self, told: Told) -> Connection | None:
        for tag in reversed(self._idle):
            if self._idle[tag][0] == told:
                return self._idle.pop(tag)[1]
        return None

    def _keep(self, told: Told, connection: Connection) -> Connection | None:
        """Keep *connection*; return the one to close for it when there are too many."""
        self._idle[connection.tag] = (told, connection)
        return self._idle.popitem(last=False)[1][1] if len(self._idle) > _MAX_IDLE else None


def _restoring(chdb: Any, settings: Mapping[str, str]) -> str:
    """Return the SQL that gives *settings* back the values they have now."""
    names = ", ".join(map(quoted, settings))
    sql = f"SELECT name, value FROM system.settings WHERE changed AND name IN ({names})"  # noqa: S608 - quoted
    changed = {found.name: found.value for found in _settings.decode_lines(chdb.query(sql, "JSONEachRow").bytes())}
    return "SET " + ", ".join(
        f"{name} = {quoted(changed[name]) if name in changed else 'DEFAULT'}" for name in settings
    )


def _set(settings: Mapping[str, str]) -> str:
    return "SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())
