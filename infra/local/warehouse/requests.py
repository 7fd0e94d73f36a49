"""The requests under way: so many at once, each under an id by which its user can end it."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from infra.local.warehouse.engine import quoted
from infra.local.warehouse.faults import (
    BAD_ARGUMENTS,
    QUERY_ID_TAKEN,
    QUERY_WAS_CANCELLED,
    TOO_MANY_QUERIES,
    QueryError,
)

_WAIT_S: Final = 30.0
_MAX_WAITING: Final = 100  # more would only time out after their clients have
_QUERY_ID: Final = re.compile(r"[!-~]{1,128}")  # it goes into a header
_KILLED: Final = quoted("kill_status String, query_id String, user String")


class Places:
    """So many queries run at once; a bounded number more wait for their turn."""

    def __init__(self, count: int) -> None:
        self._free, self._waiting = asyncio.Semaphore(count), 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Own a place for the block.

        Raises:
            QueryError: none became free in time, or too many wait already.
        """
        await self._take()
        try:
            yield
        finally:
            self._free.release()

    async def _take(self) -> None:
        too_many = QueryError(TOO_MANY_QUERIES, "Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)")
        if self._waiting >= _MAX_WAITING:
            raise too_many
        self._waiting += 1
        try:
            async with asyncio.timeout(_WAIT_S):  # wait_for of 3.11 swallows a cancel that comes as the wait ends
                await self._free.acquire()
        except TimeoutError:
            raise too_many from None
        finally:
            self._waiting -= 1


class _Request:
    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.is_killed = False

    def kill(self) -> None:
        self.is_killed = True
        if self._task is not None:
            self._task.cancel()

    def survive(self) -> None:
        """Go on after the kill, to tell the client."""
        if self._task is not None:
            self._task.uncancel()


class Requests:
    """Requests under way, by user and query id."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Request] = {}

    @contextmanager
    def known(self, user: str, query_id: str) -> Iterator[None]:
        """Let `kill` find the current task while the block runs.

        Raises:
            QueryError: no id, one that runs already, or the request was killed.
        """
        if not _QUERY_ID.fullmatch(query_id):
            raise QueryError(BAD_ARGUMENTS, "A query_id is 1 to 128 printable characters. (BAD_ARGUMENTS)")
        if (user, query_id) in self._running:
            raise QueryError(
                QUERY_ID_TAKEN, f"Query {query_id} is already running. (QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)"
            )
        request = self._running[user, query_id] = _Request()
        try:
            yield
        except asyncio.CancelledError:
            if not request.is_killed:
                raise
            request.survive()
            raise QueryError(QUERY_WAS_CANCELLED, "Query was cancelled. (QUERY_WAS_CANCELLED)") from None
        finally:
            del self._running[user, query_id]

    def kill(self, query_id: str, user: str | None) -> str:
        """End every request of that id, only *user*'s if one is given; return the SQL of what KILL answers."""
        found = [key for key in self._running if key[1] == query_id and user in {None, key[0]}]
        for key in found:
            self._running[key].kill()
        rows = [f"('waiting', {quoted(ident)}, {quoted(owner)})" for owner, ident in found]
        shown = rows or ["('', '', '')"]  # a table of no rows would have no columns
        return f"SELECT * FROM values({', '.join([_KILLED, *shown])}) LIMIT {len(rows)}"  # noqa: S608 - quoted
