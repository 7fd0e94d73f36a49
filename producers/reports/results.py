"""Answers of the lanes: a thread reads `case.results`, requests that wait are woken.

A request enters `expecting` before its command is sent, so the answer it gets was given
after it asked: a repeated command is decided anew and must not be told an old verdict.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka import consumer
from infra.logs import logger
from infra.settings import Settings
from schemas import codec
from schemas.cases import CommandResult
from schemas.errors import RecordError
from schemas.topics import CASE_RESULTS

_KEPT = 10_000
_POLL_S = 0.2
_BROKER_S = 1.0

log = logger()


class Results:
    """The last 10,000 results, and who waits for the next."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        """Read results that are written from now on; waiters live on *loop*."""
        self._settings, self._loop = settings, loop
        self._seen: OrderedDict[str, CommandResult] = OrderedDict()
        self._waiting: dict[tuple[str, str], list[asyncio.Future[CommandResult]]] = {}
        self._stopping, self._has_positions = threading.Event(), False
        self._thread = threading.Thread(target=self._read, name="case-results", daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Tell whether every result written from now on will be seen."""
        return self._has_positions and self._thread.is_alive()

    def find(self, command_id: str) -> CommandResult | None:
        """Return the last result under a command's id, if one has been seen."""
        return self._seen.get(command_id)

    @contextmanager
    def expecting(self, case_id: str, command_id: str) -> Iterator[asyncio.Future[CommandResult]]:
        """Yield a future of the next result of this command on this case.

        Both ids count: command ids are chosen by clients, and two may choose alike.
        """
        asked = (case_id, command_id)
        waiter: asyncio.Future[CommandResult] = self._loop.create_future()
        waiters = self._waiting.setdefault(asked, [])
        waiters.append(waiter)
        try:
            yield waiter
        finally:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[asked]

    def close(self) -> None:
        """End the reading thread."""
        self._stopping.set()
        self._thread.join(5)

    def _take(self, result: CommandResult) -> None:
        self._seen[result.command_id] = result
        self._seen.move_to_end(result.command_id)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        for waiter in self._waiting.get((result.case_id, result.command_id), ()):
            if not waiter.done():
                waiter.set_result(result)

    def _read(self) -> None:
        reader = consumer(self._settings, "gridwatch-intake-results")
        try:
            self._go_to_end(reader)
            while not self._stopping.is_set():
                message = reader.poll(_POLL_S)
                if message is not None and message.error() is None:
                    self._hand_over(message.value(), message.offset())
        finally:
            reader.close()

    def _go_to_end(self, reader: Consumer) -> None:
        """Take each partition's end as position, asking until the broker answers.

        `OFFSET_END` would be looked up at some later moment, and what was written until then missed.
        """
        parts = [TopicPartition(CASE_RESULTS.name, p) for p in range(self._settings.partitions)]
        while not self._stopping.wait(_POLL_S):
            try:
                for part in parts:
                    _, part.offset = reader.get_watermark_offsets(part, timeout=_BROKER_S)
            except KafkaException as error:
                log.warning("results_unreachable", reason=str(error))
                continue
            reader.assign(parts)
            self._has_positions = True
            return

    def _hand_over(self, value: bytes | None, offset: int | None) -> None:
        try:
            result = codec.decode(CASE_RESULTS, value)
        except RecordError as error:
            log.warning("result_unreadable", offset=offset, reason=error.reason)
            return
        self._loop.call_soon_threadsafe(self._take, result)
