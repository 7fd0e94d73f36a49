"""Topics back from a backup: every record with its key, value, headers, append time and place.

Offsets are what state, committed groups and ClickHouse rows refer to, so a record of a topic
that is not compacted gets its own offset back. What Kafka no longer had is filled with empty
records and deleted from the head again. Compacted topics are read by key: their records keep
their order, and committed offsets move with them.

The broker stamps records itself (LogAppendTime); while they go back it must not, and it must
not delete what looks old. A topic gets its own configuration last: a restore that was
interrupted leaves topics that a worker refuses.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import pyarrow.parquet as pq
from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from infra.backup.manifest import PartitionCopy, TopicCopy
from infra.backup.topics import file_of
from infra.kafka import bounds
from infra.provision import admin, asking, await_listed
from infra.settings import Settings
from schemas.errors import UnavailableError
from schemas.topics import BY_NAME, Cleanup, config

_BATCH_RECORDS: Final = 1000
_QUEUE_KIB: Final = 64 << 10
_FLUSH_S: Final = 120.0
_EMPTY_MS: Final = 1  # deleted before anything could look at it; 0 would mean now
_WHILE_FILLED: Final = {
    "cleanup.policy": Cleanup.DELETE.value,
    "retention.ms": "-1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
}

Committed = Mapping[str, dict[int, int]]  # group, partition: next offset; of one topic
_Headers = list[tuple[str, str | bytes | None]]


def create_empty(settings: Settings, names: Sequence[str]) -> None:
    """Delete every topic of ours and make *names* anew, ready to take records with the times they had.

    Raises:
        UnavailableError: the broker did not do it in time.
    """
    with asking() as deadline_s:
        client = admin(settings)
        present = client.list_topics(timeout=deadline_s).topics
        old = [name for name in BY_NAME if name in present]
        for future in client.delete_topics(old).values() if old else ():
            future.result(deadline_s)
        await_listed(client, old, deadline_s, there=False)
        wanted = [_new(name, settings) for name in names]
        for future in client.create_topics(wanted).values():
            future.result(deadline_s)
        await_listed(client, names, deadline_s, there=True)


def _new(name: str, settings: Settings) -> NewTopic:
    return NewTopic(name, settings.partitions, settings.replication, config=config(BY_NAME[name]) | _WHILE_FILLED)


def fill(settings: Settings, directory: Path, copy: TopicCopy, groups: Committed) -> Committed:
    """Write the records of *copy* into its empty topic; return the offsets of *groups* on it as they are now.

    Raises:
        UnavailableError: the broker refused a record, or somebody else writes to the topic.
    """
    by_key = BY_NAME[copy.name].cleanup is Cleanup.COMPACT
    moved: Committed = {group: {} for group in groups}
    for partition in copy.partitions:
        known = sorted({offsets[partition.number] for offsets in groups.values() if partition.number in offsets})
        with _Filling(settings, copy.name, partition.number) as filling:
            places = place_by_key(filling, _rows(directory, copy.name, partition.number), known) if by_key else {}
            if not by_key:
                place_by_offset(filling, _rows(directory, copy.name, partition.number), partition)
        _check_end(settings, copy.name, partition.number, filling.next)
        for group, offsets in groups.items():
            if partition.number in offsets:
                at = offsets[partition.number]
                moved[group][partition.number] = places.get(at, at)
    return moved


def finish(settings: Settings, copies: Sequence[TopicCopy]) -> None:
    """Delete the heads that Kafka had deleted, and give every topic its own configuration."""
    heads = [
        TopicPartition(copy.name, partition.number, partition.start)
        for copy in copies
        if BY_NAME[copy.name].cleanup is Cleanup.DELETE
        for partition in copy.partitions
        if partition.start
    ]
    resources = [ConfigResource(ResourceType.TOPIC, copy.name, incremental_configs=_own(copy.name)) for copy in copies]
    with asking() as deadline_s:
        client = admin(settings)
        futures = [*(client.delete_records(heads) if heads else {}).values()]
        futures += client.incremental_alter_configs(resources).values()
        for future in futures:
            future.result(deadline_s)


def _own(name: str) -> list[ConfigEntry]:
    wanted: dict[str, str | None] = dict.fromkeys(_WHILE_FILLED) | config(BY_NAME[name])
    return [
        ConfigEntry(
            key, value or "", incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        )
        for key, value in wanted.items()
    ]


def _rows(directory: Path, topic: str, partition: int) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(directory / file_of(topic, partition)) as file:
        for batch in file.iter_batches(_BATCH_RECORDS):
            yield from batch.to_pylist()


class Log(Protocol):
    """A partition that is written from its start."""

    @property
    def next(self) -> int:
        """Return the offset that the next record gets."""

    def put(self, row: Mapping[str, Any]) -> None:
        """Write one record."""

    def skip_to(self, offset: int) -> None:
        """Write empty records up to *offset*."""


def place_by_offset(log: Log, rows: Iterator[dict[str, Any]], partition: PartitionCopy) -> None:
    """Write *rows*, each at its old offset, and empty records where there was none."""
    for row in rows:
        log.skip_to(row["offset"])
        log.put(row)
    log.skip_to(partition.end)


def place_by_key(log: Log, rows: Iterator[dict[str, Any]], offsets: Sequence[int]) -> dict[int, int]:
    """Write *rows* one after the other; return where each of the old *offsets* is now."""
    waiting, places = deque(offsets), {}
    for row in rows:
        while waiting and waiting[0] <= row["offset"]:
            places[waiting.popleft()] = log.next
        log.put(row)
    return places | dict.fromkeys(waiting, log.next)


class _Filling:
    """A producer of one partition that alone writes to it, so it knows each record's offset; waits at its end."""

    def __init__(self, settings: Settings, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, partition
        self.next = 0  # the offset that the next record gets
        self._error: KafkaError | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka,
                "enable.idempotence": True,
                "message.max.bytes": 16 << 20,
                "queue.buffering.max.kbytes": _QUEUE_KIB,
                "linger.ms": 20,
                "compression.type": "zstd",
                "log_level": 2,
            }
        )

    def put(self, row: Mapping[str, Any]) -> None:
        """Queue one record."""
        named: _Headers = [(header["name"], header["value"]) for header in row["headers"]]
        self._produce(row["value"], row["key"], row["appended_ms"], named)

    def skip_to(self, offset: int) -> None:
        """Fill up to *offset* with empty records."""
        while self.next < offset:
            self._produce(None, None, _EMPTY_MS, [])

    def _produce(
        self, value: bytes | None, key: bytes | None, at_ms: int, named: list[tuple[str, str | bytes | None]]
    ) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, self._partition, self._delivered, timestamp=at_ms, headers=named
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self.next += 1
        if self.next % _BATCH_RECORDS == 0:
            self._producer.poll(0)
            self._check()

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._error = self._error or error

    def _check(self) -> None:
        if self._error is not None:
            raise UnavailableError("kafka", f"{self._topic} refused a record: {self._error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            left = self._producer.flush(_FLUSH_S)
            self._check()
            if left:
                raise UnavailableError("kafka", f"{left} records of {self._topic} are not acknowledged")


def _check_end(settings: Settings, topic: str, partition: int, expected: int) -> None:
    _, end = bounds(settings, topic)[partition]
    if end != expected:
        raise UnavailableError(topic, f"partition {partition} ends at {end}, not {expected}: who else writes to it?")
