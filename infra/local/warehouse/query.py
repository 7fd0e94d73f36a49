"""One statement on one connection of the engine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, Final

from infra.local.warehouse.connections import Connection
from infra.local.warehouse.engine import Engine

Counts = dict[str, int]

# A call into the engine costs a thread switch. Most answers have one block; that there is no second is known by asking.
_APPEND_BYTES: Final = 1 << 20
_AT_ONCE: Final = 2


class Query:
    """One statement; every call can be cancelled, which kills what runs in the engine."""

    def __init__(self, engine: Engine, connection: Connection) -> None:
        self._engine, self._connection = engine, connection
        self._running: Any = None  # the open stream or insert; set in the thread, so no cancellation loses it
        self._is_done = False  # it has given or taken all

    async def end(self) -> None:
        """End what is open; the connection may then serve another statement, or close."""
        if self._running is not None and self._is_done:
            await self._call(self._end)
        elif self._running is not None:  # to close it would wait for the query, which nobody may have killed yet
            await self._engine.stop(self._connection.tag, self._end)

    def _end(self) -> None:
        with suppress(RuntimeError):  # a killed stream may complain that it has ended
            self._running.close()
        self._running = None

    async def stream(
        self, text: str, format_name: str, parameters: Mapping[str, str]
    ) -> AsyncIterator[tuple[bytes, Counts]]:
        """Yield the result block by block, each a document of its own; none when the result is empty."""
        blocks = await self._call(self._ask, text, format_name, dict(parameters))
        while blocks:
            for block in blocks:
                yield block
            if len(blocks) < _AT_ONCE:
                return
            blocks = await self._call(self._read)

    async def whole(self, text: str, format_name: str, parameters: Mapping[str, str]) -> tuple[bytes, Counts]:
        """Return the whole result, of as many bytes as the connection was told to allow."""
        result = await self._call(self._connection.chdb.query, text, format_name, params=dict(parameters))
        return result.bytes(), _counts(result)

    async def insert(self, statement: str, format_name: str, first: bytes, rest: AsyncIterator[bytes]) -> Counts:
        """Insert the rows of *first* and *rest*; what is not finished is cancelled by `end`."""
        await self._call(self._start, self._connection.chdb.send_insert, statement, format_name)
        async for part in _gathered(first, rest):
            await self._call(self._running.append, part)
        done = await self._call(self._running.finish)
        self._is_done = True
        return {"written_rows": done.rows_written, "written_bytes": done.bytes_written, "read_rows": done.rows_written}

    def _ask(self, text: str, format_name: str, parameters: dict[str, str]) -> list[tuple[bytes, Counts]]:
        self._start(self._connection.chdb.send_query, text, format_name, params=parameters)
        return self._read()

    def _read(self) -> list[tuple[bytes, Counts]]:
        """Return the next blocks; fewer than `_AT_ONCE` are the last ones, and the stream is closed behind them."""
        found = [(block.bytes(), _counts(block)) for block in islice(self._running, _AT_ONCE)]
        if len(found) < _AT_ONCE:
            self._end()
        return found

    def _start(self, work: Any, *args: Any, **kwargs: Any) -> None:
        self._running = work(*args, **kwargs)

    async def _call(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._engine.call(self._connection.tag, work, *args, **kwargs)


@asynccontextmanager
async def on(engine: Engine, connection: Connection) -> AsyncIterator[Query]:
    """Run one statement on *connection* in the block; nothing of it is open afterwards."""
    query = Query(engine, connection)
    try:
        yield query
    finally:
        await query.end()


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
