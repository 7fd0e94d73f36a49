"""What makes two records one row, told alike in Python and in SQL. Pure.

A row is known by its key, 64 bits of MD5 of it here, and of two rows with one key the
greater version stands. Tables of events know no version: repeats are byte-equal.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from consumers.warehouse.domain.rows import Record, ce_id
from schemas.errors import RecordError
from schemas.topics import CAMERA_TELEMETRY, CASES, GRID_STATE, Topic

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
HASH_SQL: Final = "reinterpretAsUInt64(substring(MD5({key}), 1, 8))"


class Mark(Struct, frozen=True):
    """A record's key, hashed, and its version; 0 where there is none."""

    key: int
    version: int


class Identity(Struct, frozen=True):
    """How the rows of one topic are told apart; the SQL is over the columns of its table."""

    key_sql: str
    version_sql: str
    mark: Callable[[Topic, int, Record], Mark]


class _Case(Struct):
    case_id: str
    version: int


class _GridState(Struct):
    grid_id: str
    as_of: datetime


def hashed(key: str) -> int:
    """Return what `HASH_SQL` returns for *key*."""
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()[:8], "little")


def _by_id(topic: Topic, partition: int, record: Record) -> Mark:
    return Mark(hashed(ce_id(topic, partition, record)), 0)


def _by_place(topic: Topic, partition: int, record: Record) -> Mark:
    return Mark(hashed(f"{topic.name}/{partition}/{record.offset}"), 0)


def _by_case(_: Topic, __: int, record: Record) -> Mark:
    found = _decoded(record, _Case)
    return Mark(hashed(found.case_id), found.version)


def _by_grid(_: Topic, __: int, record: Record) -> Mark:
    found = _decoded(record, _GridState)
    return Mark(hashed(found.grid_id), (found.as_of - _EPOCH) // timedelta(microseconds=1))


def _decoded(record: Record, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(record.value or b"", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("not_json", str(error)) from error


_EVENTS: Final = Identity("ce_id", "0", _by_id)
_OTHERS: Final = {
    CAMERA_TELEMETRY: Identity("concat(topic, '/', toString(partition), '/', toString(offset))", "0", _by_place),
    CASES: Identity("case_id", "version", _by_case),
    GRID_STATE: Identity("grid_id", "toUnixTimestamp64Micro(as_of)", _by_grid),
}


def identity_of(topic: Topic) -> Identity:
    """Return how the rows of *topic* are told apart."""
    return _OTHERS.get(topic, _EVENTS)
