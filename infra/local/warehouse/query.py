"""One statement on one connection of the engine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

from infra.local.warehouse.engine import Engine, quoted, quoted_name
from infra.local.warehouse.sessions import Session

Counts = dict[str, int]

_APPEND_BYTES: Final = 1 << 20  # a call into the engine costs a thread switch


class _Setting(msgspec.Struct):
    name: str
    value: str


_settings: Final = msgspec.json.Decoder(_Setting)


class Query:
    """One statement; every call can be cancelled, which kills what runs in the engine."""

    def __init__(self, engine: Engine, tag: str) -> None:
        self._engine, self._tag = engine, tag
        self._connection: Any = None
        self._running: Any = None  # the open stream or insert; set in the thread, so no cancellation loses it
        self._undo: list[str] = []
        self.is_kept = False

    async def open(self, session: Session | None, *, stateful: bool) -> None:
        """Take the session's connection, or a fresh one; the session keeps it from a stateful statement on."""
        if session is not None and (stateful or session.connection is not None):
            session.connection = self._connection = session.connection or await self._engine.connect()
            self.is_kept = True
        else:
            self._connection = await self._engine.connect()

    async def close(self) -> None:
        """End what is open, then close the connection, or put back what a kept one was told for this statement only.

        chDB dies when a connection closes under an open stream: the order holds, and one call does it all.
        """
        await self._call(self._close)

    def _close(self) -> None:
        if self._running is not None:
            with suppress(RuntimeError):  # a killed stream may complain that it has ended
                self._running.close()
        if not self.is_kept:
            self._connection.close()
        for statement in self._undo:
            self._connection.query(statement)

    async def configure(self, *, database: str | None, settings: Mapping[str, str], read_only: bool) -> None:
        """Apply what came beside the statement.

        Raises:
            QueryError: no such database or setting, or a setting that is fixed.
        """
        await self._call(self._configure, database, settings, read_only)

    def _configure(self, database: str | None, settings: Mapping[str, str], read_only: bool) -> None:
        ask = self._connection.query
        if database or not self.is_kept:
            ask(f"USE {quoted_name(database or self._engine.database)}")
        if self.is_kept and settings:
            self._undo = self._restoring(settings)
        told = {**settings, "log_comment": self._tag}
        # A kept connection may have been told before and is asked, which takes 1 ms; a fresh one knows only this.
        if read_only and not self.is_kept and told.get("readonly") != "1":
            told["readonly"] = "2"
        ask("SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in told.items()))
        if read_only and self.is_kept and ask("SELECT getSetting('readonly')").bytes() == b"0\n":
            ask("SET readonly = 2")

    def _restoring(self, settings: Mapping[str, str]) -> list[str]:
        """Return the statements that give *settings* back the values they have now."""
        names = ", ".join(map(quoted, settings))
        found = self._connection.query(
            f"SELECT name, value FROM system.settings WHERE changed AND name IN ({names})",  # noqa: S608 - quoted
            "JSONEachRow",
        )
        changed = {setting.name: setting.value for setting in _settings.decode_lines(found.bytes())}
        return [f"SET {name} = {quoted(changed[name]) if name in changed else 'DEFAULT'}" for name in settings]

    async def stream(
        self, text: str, format_name: str, parameters: Mapping[str, str]
    ) -> AsyncIterator[tuple[bytes, Counts]]:
        """Yield the result block by block, each a document of its own; none when the result is empty."""
        await self._call(self._start, self._connection.send_query, text, format_name, params=dict(parameters))
        while (block := await self._call(next, self._running, None)) is not None:
            yield block.bytes(), _counts(block)

    async def bound(self, result_bytes: int) -> None:
        """Let the engine refuse a result of more than *result_bytes*, for one that is held in memory as a whole."""
        if self.is_kept:
            self._undo.append("SET max_result_bytes = DEFAULT")
        await self._call(self._connection.query, f"SET max_result_bytes = {result_bytes}")

    async def whole(self, text: str, format_name: str, parameters: Mapping[str, str]) -> tuple[bytes, Counts]:
        """Return the whole result."""
        result = await self._call(self._connection.query, text, format_name, params=dict(parameters))
        return result.bytes(), _counts(result)

    async def insert(self, statement: str, format_name: str, first: bytes, rest: AsyncIterator[bytes]) -> Counts:
        """Insert the rows of *first* and *rest*; what is not finished is cancelled by `close`."""
        await self._call(self._start, self._connection.send_insert, statement, format_name)
        async for part in _gathered(first, rest):
            await self._call(self._running.append, part)
        done = await self._call(self._running.finish)
        return {"written_rows": done.rows_written, "written_bytes": done.bytes_written, "read_rows": done.rows_written}

    def _start(self, work: Any, *args: Any, **kwargs: Any) -> None:
        self._running = work(*args, **kwargs)

    async def _call(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._engine.call(self._tag, work, *args, **kwargs)


@asynccontextmanager
async def prepared(query: Query, session: Session | None, *, stateful: bool) -> AsyncIterator[None]:
    """Open *query*'s connection for the block."""
    await query.open(session, stateful=stateful)
    try:
        yield
    finally:
        await query.close()


async def _gathered(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    waiting = bytearray(first)
    async for part in rest:
        waiting += part
        if len(waiting) >= _APPEND_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _counts(result: Any) -> Counts:
    return {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "result_rows": result.rows_read(),
    }
