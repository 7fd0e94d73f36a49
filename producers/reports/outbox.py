"""The outbox: reports into the spool in groups, out of it into Kafka in order.

One task puts on disk what has gathered while the last group was being written (group commit),
another sends what is there: a batch, every acknowledgement awaited, then its receipts. A batch that
is not acknowledged is sent again, whole and first; the engine drops what it knows by its id.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from infra.kafka import BatchProducer
from infra.logs import logger
from producers.reports.spool import Entry, Spool
from schemas.errors import EXIT_CRASH, RecordError, UnavailableError

_GROUP, _BATCH = 512, 1000
_IDLE_S = 1.0  # without anything to send, the disk is tidied
_BACKOFF_S = (0.2, 1.0, 5.0)
_STOP_S = 2.0  # to send what is left; more stays for the next start

_T = TypeVar("_T")

log = logger()


class Outbox:
    """Takes reports for Kafka and answers for them."""

    def __init__(self, spool: Spool, producer: BatchProducer) -> None:
        self._spool, self._producer = spool, producer
        self._gathered: dict[str, tuple[Entry, asyncio.Future[None]]] = {}
        self._writing: dict[str, tuple[Entry, asyncio.Future[None]]] = {}
        self._end = spool.end  # the spool's, once what is being written is in it
        self._has_gathered, self._has_stored = asyncio.Event(), asyncio.Event()
        self._progress = asyncio.Condition()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._kafka = ThreadPoolExecutor(1, thread_name_prefix="relay")

    async def store(self, entry: Entry) -> None:
        """Return when *entry* is on disk; at once when it was before.

        Raises:
            RecordError: `conflict`: another body is known under its id.
            OverloadedError: there is no room; nothing was stored.
            UnavailableError: the disk refused.
        """
        under_way = self._gathered.get(entry.report_id) or self._writing.get(entry.report_id)
        known = self._spool.digest_of(entry.report_id) if under_way is None else under_way[0].digest
        if known not in (None, entry.digest):
            raise RecordError("conflict", "another report was taken under this id", "report_id")
        if under_way is not None:
            await asyncio.shield(under_way[1])
        elif known is None:
            await self._add(entry)

    async def _add(self, entry: Entry) -> None:
        self._spool.check_room(self._end + len(self._gathered) + 1)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered[entry.report_id] = entry, stored
        self._has_gathered.set()
        await asyncio.shield(stored)  # a client that hangs up takes nothing from another that asks for the same

    async def sent(self) -> None:
        """Return when Kafka has all that is on disk now."""
        end = self._spool.end
        async with self._progress:
            await self._progress.wait_for(lambda: self._spool.sent >= end)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write and send until the block ends; then at most 2 s longer, to send what is left."""
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._relay())]
        for task in tasks:
            task.add_done_callback(_ended)
        try:
            yield
        finally:
            try:
                await asyncio.wait_for(self.sent(), _STOP_S)
            except TimeoutError:
                log.warning("reports_wait_for_next_start", pending=self._spool.pending)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._disk.shutdown()
            self._kafka.shutdown()

    # -- to disk -------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._has_gathered.wait()
            group = dict(list(self._gathered.items())[:_GROUP])
            self._writing = group
            self._end = self._spool.end + len(group)
            for ident in group:
                del self._gathered[ident]
            if not self._gathered:
                self._has_gathered.clear()
            error = await _in(self._disk, self._append, [entry for entry, _ in group.values()])
            self._writing, self._end = {}, self._spool.end
            for _, stored in group.values():
                _settle(stored, error)
            self._has_stored.set()

    def _append(self, entries: Sequence[Entry]) -> UnavailableError | None:
        try:
            self._spool.append(entries)
        except UnavailableError as error:
            log.warning("spool_refused", detail=error.detail, reports=len(entries))
            return error
        return None

    # -- to Kafka ------------------------------------------------------------------------------

    async def _relay(self) -> None:
        failures = 0
        while True:
            count = await self._send_batch()
            async with self._progress:
                self._progress.notify_all()
            if count is None:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures = failures + 1 if count is None else 0
            if count == 0:
                await self._until_stored()

    async def _until_stored(self) -> None:
        try:
            await asyncio.wait_for(self._has_stored.wait(), _IDLE_S)
        except TimeoutError:
            await _in(self._kafka, self._spool.tidy)
        self._has_stored.clear()

    async def _send_batch(self) -> int | None:
        """Return how many entries Kafka has now that it had not, or None when it did not acknowledge."""
        entries = await _in(self._kafka, self._spool.read, _BATCH)
        try:
            await self._producer.send_all([record for entry in entries for record in entry.records])
        except UnavailableError as error:
            log.warning("relay_unacknowledged", detail=error.detail, pending=self._spool.pending)
            return None
        if entries:
            await _in(self._kafka, self._spool.release, entries)
        return len(entries)


def _settle(stored: asyncio.Future[None], error: UnavailableError | None) -> None:
    if error is None:
        stored.set_result(None)
    else:
        stored.set_exception(error)
        stored.exception()  # whoever asked may have hung up


def _ended(task: asyncio.Task[None]) -> None:
    """End the process with its task: what is on disk survives, and the supervisor starts another."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("outbox_failed", exc_info=error)
        os._exit(EXIT_CRASH)


async def _in(pool: ThreadPoolExecutor, act: Callable[..., _T], *arguments: object) -> _T:
    return await asyncio.get_running_loop().run_in_executor(pool, act, *arguments)
