"""Answers of the lanes: a thread reads `case.results`, waiting requests are woken by command id."""

import asyncio
import threading
from collections import OrderedDict

from confluent_kafka import OFFSET_END, TopicPartition

from infra.kafka import consumer
from infra.logs import logger
from infra.settings import Settings
from schemas import codec
from schemas.cases import CommandResult
from schemas.errors import RecordError
from schemas.topics import CASE_RESULTS

_KEPT = 10_000
_POLL_S = 0.2

log = logger()


class Results:
    """The last 10,000 results, and who waits for the next."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        """Read results that arrive from now on; waiters live on *loop*."""
        self._settings, self._loop = settings, loop
        self._seen: OrderedDict[str, CommandResult] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[CommandResult]] = {}
        self._stopping, self.is_ready = threading.Event(), False
        self._thread = threading.Thread(target=self._read, name="case-results", daemon=True)
        self._thread.start()

    def find(self, command_id: str) -> CommandResult | None:
        """Return the result of a command, if it has been seen."""
        return self._seen.get(command_id)

    async def wait(self, command_id: str, timeout_s: float) -> CommandResult | None:
        """Return the result of a command, or None when none came within *timeout_s* seconds."""
        if command_id in self._seen:
            return self._seen[command_id]
        waiter = self._waiting.setdefault(command_id, self._loop.create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(waiter), timeout_s)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(command_id, None)

    def close(self) -> None:
        """End the reading thread."""
        self._stopping.set()
        self._thread.join(5)

    def _take(self, result: CommandResult) -> None:
        self._seen[result.command_id] = result
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        waiter = self._waiting.get(result.command_id)
        if waiter is not None and not waiter.done():
            waiter.set_result(result)

    def _read(self) -> None:
        reader = consumer(self._settings, "gridwatch-intake-results")
        reader.assign([TopicPartition(CASE_RESULTS.name, p, OFFSET_END) for p in range(self._settings.partitions)])
        while not self._stopping.is_set():
            message = reader.poll(_POLL_S)
            self.is_ready = True
            if message is None or message.error() is not None:
                continue
            try:
                result = codec.decode(CASE_RESULTS, message.value())
            except RecordError as error:
                log.warning("result_unreadable", offset=message.offset(), reason=error.reason)
                continue
            self._loop.call_soon_threadsafe(self._take, result)
        reader.close()
