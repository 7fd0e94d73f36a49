"""The chDB engine of one directory: one owner, connections for one request at a time, queries that can be stopped.

An anchor connection keeps the engine up; a connection isolates settings, database and temporary tables, and
serialises its own calls. The engine releases the GIL, so calls run in threads.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import quote

import chdb

from infra import logs
from infra.local.warehouse.access import write_configuration
from infra.local.warehouse.faults import QueryError, from_engine
from schemas.errors import EXIT_CRASH, SetupError

P = ParamSpec("P")
T = TypeVar("T")

READERS: Final = 4  # two cores saturate at about nine raw scans a second: more readers only wait inside
WRITERS: Final = 2
OWN_READERS: Final = (
    2  # of the writing user: clients describe a table before they insert, and must not wait for analysts
)
_connect: Any = chdb.connect  # untyped
_FATAL: Final = "shutting down due to a fatal error"
_KILL_EVERY_S: Final = 0.2  # a query that is still being planned does not see its first kill

_log = logs.logger()


class Engine:
    """An open chDB directory; a context manager that closes it."""

    def __init__(self, address: str, database: str) -> None:
        self._address, self.database = address, database
        self._anchor = _connect(address)
        self._threads = ThreadPoolExecutor(READERS + WRITERS + OWN_READERS + 2, "engine")
        self._killers = ThreadPoolExecutor(2, "kill")
        self._anchor.query(f"CREATE DATABASE IF NOT EXISTS {quoted_name(database)}")
        self.version = self._anchor.query("SELECT version()", "TSV").bytes().decode().strip()
        self.timezone = self._anchor.query("SELECT timezone()", "TSV").bytes().decode().strip()

    def close(self) -> None:
        """Wait for running calls and let the directory go."""
        self._threads.shutdown()
        self._killers.shutdown()
        self._anchor.close()

    async def connect(self, statements: Sequence[str]) -> Any:
        """Open a connection and run *statements* on it.

        Raises:
            QueryError: one was refused; the connection is closed.
        """
        return await self.call("", self._open, statements)

    def _open(self, statements: Sequence[str]) -> Any:
        connection = _connect(self._address)
        try:
            for statement in statements:
                connection.query(statement)
        except RuntimeError:
            connection.close()
            raise
        return connection

    async def call(self, tag: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *work* in a thread; when the caller is cancelled, stop the query marked *tag* and only then return.

        Raises:
            QueryError: the engine refused or failed.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await self._stop(tag, future)
            raise
        except RuntimeError as error:  # chDB's own error is one, and its inserter raises plain ones
            refused = from_engine(error)
            if _FATAL in refused.text:
                _log.critical("warehouse_engine_died", detail=refused.text)
                os._exit(EXIT_CRASH)  # it will answer nothing any more, not even a close; a restart takes a second
            raise refused from error

    async def stop(self, tag: str, work: Callable[[], None]) -> None:
        """Run *work*, which waits for the query marked *tag*, and kill that until it has ended."""
        await self._stop(tag, asyncio.get_running_loop().run_in_executor(self._threads, work))

    async def _stop(self, tag: str, future: asyncio.Future[Any]) -> None:
        """Kill until the thread is back: its connection must not be closed under it."""
        loop = asyncio.get_running_loop()
        while not future.done():
            if tag:
                await _ended(loop.run_in_executor(self._killers, self._kill, tag))
            await _ended(future, _KILL_EVERY_S)
        future.exception()

    def _kill(self, tag: str) -> None:
        try:
            connection = _connect(self._address)
            try:
                connection.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(tag)} ASYNC")
            finally:
                connection.close()
        except RuntimeError as error:  # of memory or threads there is least when there is most to kill
            _log.warning("warehouse_kill_failed", tag=tag, reason=str(error))


async def _ended(future: asyncio.Future[Any], timeout_s: float | None = None) -> None:
    """Wait until *future* has ended, or for *timeout_s*, however often the caller is told meanwhile to stop.

    A kill that nobody waited for could hit the connection's next statement.
    """
    told = True
    while told and not future.done():
        told = False
        try:
            await asyncio.wait({future}, timeout=timeout_s)
        except asyncio.CancelledError:
            told = True


def quoted(text: str) -> str:
    """Return *text* as an SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(name: str) -> str:
    """Return *name* as an SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@contextmanager
def open_engine(directory: Path, database: str) -> Iterator[Engine]:
    """Own *directory* and run the engine in it until the block ends.

    Raises:
        SetupError: another process owns the directory, or the engine cannot open it.
    """
    if "?" in str(directory.resolve()):  # chDB ends the path there and would keep its data in another directory
        raise SetupError("GRIDWATCH_DATA_DIR", f"{directory} has a ? in its name, which the engine cannot open")
    directory.mkdir(parents=True, exist_ok=True)
    with _owned(directory):
        configuration = write_configuration(directory.resolve(), database)
        address = f"{directory.resolve() / 'engine'}?config-file={quote(str(configuration))}"
        try:
            engine = Engine(address, database)
        except (RuntimeError, QueryError) as error:
            raise SetupError("warehouse", f"the engine cannot open {directory}: {error}") from error
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel drops it with the process, so a kill leaves none behind."""
    with (directory / "owner.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise SetupError("warehouse", f"process {lock.read().strip()} holds {directory}") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
