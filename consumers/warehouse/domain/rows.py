"""From records to the rows of tables. Pure: bytes and headers in, Arrow tables and rejects out."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from msgspec import Struct

from consumers.warehouse.domain.columns import Column, Coordinates, columns_of
from schemas import codec
from schemas.errors import RecordError
from schemas.topics import DEAD_LETTERS, TOPICS, Cleanup, Topic

SUNK: Final = tuple(topic for topic in TOPICS if topic.table is not None)


class Record(Struct, frozen=True, kw_only=True):
    """One record as it was read."""

    topic: Topic
    partition: int
    offset: int
    appended_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class DeadLetter(Struct, frozen=True, kw_only=True):
    """What the warehouse keeps of a dead letter: why and where, never what."""

    process: str
    reason: str
    field: str | None
    origin_topic: str
    origin_partition: int | None
    origin_offset: int | None
    size_bytes: int
    sha256: str


class Row(Struct, frozen=True):
    """A record that can be stored: what it says and where it came from."""

    record: Record
    content: Struct
    coordinates: Coordinates


Reject = tuple[Record, RecordError]


def read(records: Iterable[Record]) -> tuple[dict[str, list[Row]], list[Reject]]:
    """Return the rows of each table, and the records that are none, with the reason."""
    rows: dict[str, list[Row]] = {}
    rejects: list[Reject] = []
    for record in records:
        if record.value is None and record.topic.cleanup is Cleanup.COMPACT:
            continue  # a tombstone takes a key off its topic; the warehouse keeps the last row
        try:
            rows.setdefault(record.topic.table or "", []).append(_row(record))
        except RecordError as error:
            rejects.append((record, error))
    return rows, rejects


def _row(record: Record) -> Row:
    content = _dead_letter(record) if record.topic is DEAD_LETTERS else codec.decode(record.topic, record.value)
    at = f"{record.topic.name}/{record.partition}/{record.offset}"
    coordinates = Coordinates(
        topic=record.topic.name,
        partition=record.partition,
        offset=record.offset,
        appended_at=datetime.fromtimestamp(record.appended_ms / 1000, UTC),
        ce_id=codec.header(record.headers, "ce_id") or at,  # a foreign producer may leave it out
    )
    return Row(record, content, coordinates)


def _dead_letter(record: Record) -> DeadLetter:
    """Read the headers alone. Nothing here may fail: a dead letter of a dead letter would never end."""
    found = {name: codec.header(record.headers, name) for name, _ in record.headers}
    return DeadLetter(
        process=(found.get("ce_source") or "").rpartition("/")[2],
        reason=found.get("reason") or "unknown",
        field=found.get("field"),
        origin_topic=found.get("origin_topic") or "",
        origin_partition=_number(found.get("origin_partition")),
        origin_offset=_number(found.get("origin_offset")),
        size_bytes=_number(found.get("size_bytes")) or 0,
        sha256=found.get("sha256") or "",
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def columns(table: str) -> tuple[Column, ...]:
    """Return all columns of *table*, coordinates last."""
    return content_columns(table) + columns_of(Coordinates)


def content_columns(table: str) -> tuple[Column, ...]:
    """Return the columns that records of *table* fill."""
    if table == DEAD_LETTERS.table:
        return columns_of(DeadLetter)
    return columns_of(next(topic.kind for topic in SUNK if topic.table == table))


def arrow(table: str, rows: Sequence[Row]) -> tuple[Any, list[Reject]]:
    """Return the rows as one Arrow table, and those that no column can hold (an integer beyond 64 bits)."""
    try:
        return _table(table, rows), []
    except (ValueError, OverflowError):
        rejects = [(row.record, error) for row in rows if (error := _unstorable(table, row))]
        bad = {id(record) for record, _ in rejects}
        return _table(table, [row for row in rows if id(row.record) not in bad]), rejects


def _unstorable(table: str, row: Row) -> RecordError | None:
    try:
        _table(table, [row])
    except (ValueError, OverflowError) as error:
        return RecordError("out_of_range", str(error))
    return None


def _table(table: str, rows: Sequence[Row]) -> Any:
    parts: Mapping[str, Any] = {
        **{c.name: pa.array([c.read(row.content) for row in rows], c.type) for c in content_columns(table)},
        **{c.name: pa.array([c.read(row.coordinates) for row in rows], c.type) for c in columns_of(Coordinates)},
    }
    return pa.table(parts)
