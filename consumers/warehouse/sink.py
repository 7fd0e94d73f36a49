"""From topics to tables: read, write, and only then commit.

Every arrow is at least once; rows are identified by their keys, so reading again after a
crash changes nothing that a view shows. While the warehouse is away the sink holds its
batch, pauses its partitions and keeps its place in the group: the topics are the buffer.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from consumers.warehouse.batch import MAX_RECORDS, Batch
from consumers.warehouse.domain.rows import SUNK, Record
from consumers.warehouse.store import Store
from infra import clock
from infra.kafka import consumer, headers
from infra.logs import logger
from infra.settings import Settings
from schemas.errors import UnavailableError
from schemas.topics import BY_NAME

GROUP: Final = "gridwatch-sink"
_POLL_S: Final = 0.1
_FIRST_RETRY_S: Final = 0.25
_LAST_RETRY_S: Final = 5.0


class Sink:
    """One member of the sink's consumer group."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store, self._batch, self._held = store, Batch(), False
        self._consumer: Consumer = consumer(
            settings,
            GROUP,
            **{
                # A sink that comes back under its name takes its partitions at once, no rebalance.
                "group.instance.id": f"sink-{settings.worker_id}",
                "session.timeout.ms": int(settings.session_timeout_s * 1000),
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 32 << 10,
            },
        )

    def run(self, stopping: Callable[[], bool]) -> None:
        """Move records until *stopping* says so; what is not committed then is read again by the next run.

        Raises:
            SetupError: the warehouse's tables are not those of this release.
            UnavailableError: the consumer has failed for good.
        """
        topics = [topic.name for topic in SUNK]
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        try:
            while not stopping():
                self._take(self._consumer.consume(MAX_RECORDS, timeout=_POLL_S))
                if self._batch.is_due(clock.monotonic_s()):
                    self._write(stopping)
        finally:
            self._consumer.close()

    def _take(self, messages: Sequence[Message]) -> None:
        self._batch.add(_records(messages), clock.monotonic_s())

    def _write(self, stopping: Callable[[], bool]) -> None:
        """Write and commit the batch, trying again for as long as the warehouse is away."""
        delay_s = _FIRST_RETRY_S
        while self._batch.records and not stopping():
            try:
                self._store.write(self._batch.records)
                break
            except UnavailableError as error:
                logger().warning("sink_waits", records=len(self._batch.records), reason=str(error))
            self._hold()
            # Jitter, so that several sinks do not return in step.
            self._stay_in_group(delay_s * random.uniform(0.5, 1.0), stopping)
            delay_s = min(2 * delay_s, _LAST_RETRY_S)
        self._release()
        if not stopping():
            self._commit()

    def _stay_in_group(self, seconds: float, stopping: Callable[[], bool]) -> None:
        until = clock.monotonic_s() + seconds
        while clock.monotonic_s() < until and not stopping():
            message = self._consumer.poll(_POLL_S)
            self._take([] if message is None else [message])

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self._consumer.pause(self._consumer.assignment())

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._consumer.resume(self._consumer.assignment())
            logger().info("sink_goes_on")

    def _commit(self) -> None:
        offsets = [TopicPartition(topic, p, offset) for (topic, p), offset in self._batch.next_offsets().items()]
        self._batch.clear()
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # the rows are in; whoever owns the partitions reads them again
            logger().warning("commit_refused", reason=str(error))

    def _assigned(self, reader: Any, partitions: list[TopicPartition]) -> None:
        logger().info("sink_assigned", partitions=len(partitions))
        reader.assign(partitions)
        if self._held:
            reader.pause(partitions)

    def _revoked(self, reader: Any, _partitions: list[TopicPartition]) -> None:
        """Drop what is not committed: its next owner, perhaps we, starts at the commit."""
        self._batch.clear()
        reader.unassign()


def _records(messages: Sequence[Message]) -> Iterator[Record]:
    for message in messages:
        error = message.error()
        if error is not None and error.fatal():
            raise UnavailableError("kafka", str(error))
        if error is not None:
            logger().warning("kafka_says", reason=str(error))
            continue
        yield Record(
            topic=BY_NAME[str(message.topic())],
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            appended_ms=message.timestamp()[1],
            key=_bytes(message.key()),
            value=_bytes(message.value()),
            headers=headers(message),
        )


def _bytes(content: str | bytes | None) -> bytes | None:
    return content.encode() if isinstance(content, str) else content
