"""Topics into Parquet files, a partition a file: offset, append time, key, value, headers.

Records are read as they come and written in row groups of bounded size, so a topic may be larger than memory.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Message

from infra.backup.manifest import Draft, PartitionCopy, TopicCopy
from infra.clock import monotonic_s
from infra.kafka import bounds, headers, read_between
from infra.settings import Settings
from schemas.topics import (
    CASE_COMMANDS,
    CASES,
    CLOCK_TICKS,
    ENGINE_INPUTS,
    GRID_STATE,
    REFERENCE,
    REPORTERS,
    STATE_CHANGELOG,
    TOPICS,
    Cleanup,
    Topic,
)

# A live stack is copied as a crash would leave it: state, then what was written before it, then what it was made
# from, so nothing that state has seen is missing. A tick names ends of the other inputs and comes before them, a
# command comes before what opens its case. A repeat after the restore has the id and the bytes it had.
_BY_KEY: Final = (STATE_CHANGELOG, CASES, GRID_STATE)
_INPUTS: Final = tuple(dict.fromkeys((CLOCK_TICKS, CASE_COMMANDS, *ENGINE_INPUTS)))
_LAST: Final = (REPORTERS, REFERENCE)
_OUTPUTS: Final = tuple(topic for topic in TOPICS if topic not in (*_BY_KEY, *_INPUTS, *_LAST))

_GROUP_BYTES: Final = 8 << 20
_GROUP_RECORDS: Final = 20_000
_QUICK_S: Final = 1.0
_SCHEMA: Final = pa.schema(
    [
        ("offset", pa.int64()),
        ("appended_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)

Bounds = Mapping[int, tuple[int, int]]


def file_of(topic: str, partition: int) -> str:
    """Return the path of a partition's records inside a backup."""
    return f"topics/{topic}/{partition}.parquet"


def copy_topics(settings: Settings, draft: Draft) -> Iterator[TopicCopy]:
    """Copy every topic as it stands now into *draft*, in an order that a worker can go on from.

    Raises:
        UnavailableError: the broker stopped answering.
    """
    for topic in _BY_KEY:
        yield _copied(settings, draft, topic, bounds(settings, topic.name))
    ends = {topic: bounds(settings, topic.name) for topic in (*_OUTPUTS, *_INPUTS)}
    for topic, found in ends.items():
        yield _copied(settings, draft, topic, found)
    for topic in _LAST:
        yield _copied(settings, draft, topic, bounds(settings, topic.name))


def _copied(settings: Settings, draft: Draft, topic: Topic, found: Bounds) -> TopicCopy:
    return TopicCopy(name=topic.name, partitions=[_partition(settings, draft, topic, p, found[p]) for p in found])


def _partition(
    settings: Settings, draft: Draft, topic: Topic, partition: int, between: tuple[int, int]
) -> PartitionCopy:
    end = between[1]
    with draft.new(file_of(topic.name, partition)) as path, pq.ParquetWriter(path, _SCHEMA, compression="zstd") as file:
        rows = _Rows(file)
        began = monotonic_s()
        rows.take(read_between(settings, topic.name, {partition: between}))
        # The cleaner may have taken a key's record for a later one, beyond the end we knew: go on until we are there.
        while topic.cleanup is Cleanup.COMPACT and monotonic_s() - began > _QUICK_S:
            began = monotonic_s()
            more = end, bounds(settings, topic.name)[partition][1]
            rows.take(read_between(settings, topic.name, {partition: more}))
            end = more[1]
        rows.flush()
    start = end if rows.first is None else rows.first
    return PartitionCopy(number=partition, start=start, end=end, records=rows.count)


class _Rows:
    """Gathers records into row groups of bounded size."""

    def __init__(self, file: pq.ParquetWriter) -> None:
        self._file, self._size = file, 0
        self._waiting: list[dict[str, Any]] = []
        self.count = 0
        self.first: int | None = None

    def take(self, messages: Iterator[Message]) -> None:
        for message in messages:
            row = _row(message)
            if self.first is None:
                self.first = row["offset"]
            self._waiting.append(row)
            self._size += sum(len(row[name] or b"") for name in ("key", "value"))
            if self._size >= _GROUP_BYTES or len(self._waiting) >= _GROUP_RECORDS:
                self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._file.write_batch(pa.RecordBatch.from_pylist(self._waiting, _SCHEMA))
        self.count += len(self._waiting)
        self._waiting, self._size = [], 0


def _row(message: Message) -> dict[str, Any]:
    return {
        "offset": message.offset(),
        "appended_ms": message.timestamp()[1],
        "key": message.key(),
        "value": message.value(),
        "headers": [{"name": name, "value": value} for name, value in headers(message)],
    }
