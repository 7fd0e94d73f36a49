"""Two threads that move data from Kafka into the model: one reads records, one looks at offsets.

The reader assigns itself every partition and commits nothing: compacted topics from
their beginning, the others from near their end. `State` is where threads and web server meet.
"""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.dashboard.domain.board import Board
from consumers.dashboard.domain.model import Model, Taken
from consumers.dashboard.domain.views import View
from consumers.dashboard.offsets import OffsetWatch
from infra.clock import utc_now
from infra.kafka import consumer
from infra.logs import logger
from infra.settings import Settings
from schemas import codec
from schemas.errors import RecordError, UnavailableError
from schemas.topics import (
    ALERTS_CAMERA,
    ALERTS_SAFETY,
    ALERTS_SLA,
    BY_NAME,
    CAMERA_TELEMETRY,
    CASES,
    GRID_STATE,
    Cleanup,
)

READ: Final = (CASES, GRID_STATE, CAMERA_TELEMETRY, ALERTS_SLA, ALERTS_CAMERA, ALERTS_SAFETY)
_NEAR_END: Final = 1000  # records a partition: half a minute of 30 cameras, more alerts than the page keeps
_BATCH, _POLL_S = 2000, 0.2
_SAMPLE_EVERY_S: Final = 2.0
_TIMEOUT_S: Final = 5.0

log = logger()


class State:
    """The model behind a lock, whether it has caught up, and since when the broker is silent."""

    def __init__(self) -> None:
        self._lock, self._model = threading.Lock(), Model()
        self._has_caught_up = False
        self._lost_since: datetime | None = None

    def take(self, records: list[Taken], unreadable: int = 0) -> None:
        """Fold *records* in; *unreadable* more could not be decoded."""
        with self._lock:
            self._model.unreadable += unreadable
            for record in records:
                self._model.take(record)

    def caught_up(self) -> None:
        """Note that every topic has been read to its end once."""
        self._has_caught_up = True

    def look(self, watch: OffsetWatch) -> None:
        """Take one sample of offsets, or note since when the broker has not answered."""
        try:
            sample = watch.sample(utc_now())
        except UnavailableError as error:
            if self._lost_since is None:
                log.warning("broker_lost", detail=error.detail)
            self._lost_since = self._lost_since or utc_now()
            return
        with self._lock:
            self._model.take_sample(sample)
        self._lost_since = None

    @property
    def problem(self) -> str | None:
        """Return why the page cannot be relied on now, or None."""
        if not self._has_caught_up:
            return "still reading the topics"
        return f"no answer from the broker since {self._lost_since}" if self._lost_since else None

    def view(self, board: Board, focus: str | None = None) -> View:
        """Return the view of this moment."""
        with self._lock:
            return board.view(self._model, utc_now(), lost_since=self._lost_since, focus=focus)


class Feed:
    """Runs both threads from `start` to `stop`."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._settings, self._state = settings, state
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, name="page-records", daemon=True),
            threading.Thread(target=self._watch, name="page-offsets", daemon=True),
        ]

    def start(self) -> None:
        """Start reading; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; waits at most 5 s for each."""
        self._closing.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _watch(self) -> None:
        watch = OffsetWatch(self._settings, timeout_s=_TIMEOUT_S)
        while not self._closing.is_set():
            self._state.look(watch)
            self._closing.wait(_SAMPLE_EVERY_S)

    def _read(self) -> None:
        reader = consumer(self._settings, f"gridwatch-page-{uuid4()}", **{"enable.partition.eof": True})
        try:
            unread = self._assign(reader)
            while not self._closing.is_set():
                unread = self._read_batch(reader, unread)
        finally:
            reader.close()

    def _assign(self, reader: Consumer) -> set[TopicPartition]:
        """Assign every partition, as soon as the broker knows them all; return them."""
        while not self._closing.is_set():
            try:
                at = list(_starting_points(reader, self._settings.partitions))
            except KafkaException as error:
                log.warning("page_waits_for_topics", detail=str(error))
                self._closing.wait(1.0)
                continue
            reader.assign(at)
            return {TopicPartition(p.topic, p.partition) for p in at}
        return set()

    def _read_batch(self, reader: Consumer, unread: set[TopicPartition]) -> set[TopicPartition]:
        """Fold one batch in; return the partitions whose end has not been seen yet."""
        messages = reader.consume(_BATCH, timeout=_POLL_S)
        taken = [_taken(message) for message in messages if message.error() is None]
        records = [record for record in taken if record is not None]
        self._state.take(records, unreadable=len(taken) - len(records))
        if len(records) < len(taken):
            log.warning("records_unreadable", count=len(taken) - len(records))
        if not unread:
            return unread
        unread = unread - set(_ended(messages))
        if not unread:
            self._state.caught_up()
            log.info("page_caught_up")
        return unread


def _starting_points(reader: Consumer, partitions: int) -> Iterator[TopicPartition]:
    for topic in READ:
        for partition in range(partitions):
            if topic.cleanup is Cleanup.COMPACT:
                yield TopicPartition(topic.name, partition, OFFSET_BEGINNING)
                continue
            low, high = reader.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=_TIMEOUT_S)
            yield TopicPartition(topic.name, partition, max(low, high - _NEAR_END))


def _ended(messages: list[Message]) -> Iterator[TopicPartition]:
    for message in messages:
        error = message.error()
        if error is None:
            continue
        if error.code() == KafkaError._PARTITION_EOF:
            yield TopicPartition(message.topic() or "", message.partition() or 0)
        else:
            log.warning("page_read_failed", detail=str(error))


def _taken(message: Message) -> Taken | None:
    """Return one record decoded, or None when it cannot be: the page says how many, and goes on."""
    topic, key, value = BY_NAME[message.topic() or ""], message.key() or b"", message.value()
    at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    try:
        decoded = None if value is None else codec.decode(topic, value)
        return Taken(key=key.decode(), value=decoded, appended_at=at)
    except (RecordError, UnicodeDecodeError):
        return None
