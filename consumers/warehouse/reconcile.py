"""Topics against tables: every record that is a row must be one, once.

The topics are read in pieces. A piece's keys are held against the rows that say they came
from there; what is left (a repeat, whose row says where its twin was) is looked up by key.
So memory is bounded, and a row is found wherever it lies.
"""

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from msgspec import Struct
from msgspec.structs import astuple

from consumers.warehouse.domain import rows
from consumers.warehouse.domain.identity import HASH_SQL, Identity, Mark, identity_of
from consumers.warehouse.domain.rows import SUNK, Record
from consumers.warehouse.replay import Chunk, Offsets, Replay
from infra.clickhouse import fault
from infra.kafka import committed
from infra.settings import Settings
from schemas.errors import RecordError
from schemas.topics import Cleanup, Topic

PIECE: Final = 50_000  # records
_LOOK_UP: Final = 5_000  # keys in one question: 100 KiB, of the 256 that a statement may have


class Finding(Struct, frozen=True, kw_only=True):
    """One topic against its table."""

    topic: str
    table: str
    records: int
    repeats: int
    bad: int
    expected: int
    missing: int
    twice: int

    @property
    def is_right(self) -> bool:
        """Tell whether every record that is a row is one, once."""
        return not self.missing and not self.twice


class _Tally:
    """What was seen of one topic."""

    def __init__(self) -> None:
        self.records = self.bad = self.missing = 0
        self.keys: list[Any] = [np.empty(0, np.uint64)]

    def finding(self, topic: Topic, twice: int) -> Finding:
        expected = len(np.unique(np.concatenate(self.keys)))
        return Finding(
            topic=topic.name,
            table=topic.table or "",
            records=self.records,
            repeats=self.records - self.bad - expected,
            bad=self.bad,
            expected=expected,
            missing=self.missing,
            twice=twice,
        )


async def reconcile(settings: Settings, client: Client, *, group: str, since: datetime | None) -> list[Finding]:
    """Compare what *group* has committed, of what was appended *since* then, with the tables.

    Raises:
        UnavailableError: broker or warehouse does not answer.
        SetupError: the tables are not those of this release.
    """
    tallies = {topic: _Tally() for topic in SUNK}
    replay = await Replay.open(settings, SUNK)
    try:
        starts: Offsets = {} if since is None else await replay.since_time(int(since.timestamp() * 1000))
        done = {(at.topic, at.partition): at.offset for at in committed(settings, group)}
        ends = {place: min(end, done.get(place, 0)) for place, end in replay.ends.items()}
        async with aclosing(replay.chunks(starts, ends, PIECE)) as chunks:
            async for chunk in chunks:
                _compare(client, chunk, tallies[chunk.topic])
        return [tally.finding(topic, _twice(client, topic)) for topic, tally in tallies.items()]
    except Error as error:
        raise fault(error) from error
    finally:
        await replay.close()


def last_kept(client: Client) -> datetime | None:
    """Return when the last reconciliation was kept."""
    [[at]] = client.query("SELECT max(at) FROM v_reconciliations HAVING count() > 0").result_rows or [[None]]
    return at if at is None else at.replace(tzinfo=UTC)


def keep(client: Client, at: datetime, findings: Iterable[Finding]) -> None:
    """Keep *findings* in the warehouse."""
    names = ("at", *Finding.__struct_fields__)
    client.insert("reconciliations", [[at, *astuple(finding)] for finding in findings], column_names=names)


def _compare(client: Client, chunk: Chunk, tally: _Tally) -> None:
    """Count one piece of a topic; what no row accounts for is bad, or missing."""
    wanted: dict[int, tuple[int, Record]] = {}  # by key: the greatest version, and the record that has it
    identity = identity_of(chunk.topic)
    records = _values(chunk)
    tally.records += len(records)
    for record in records:
        mark = _mark(identity, chunk, record)
        if mark is None:
            tally.bad += 1
        elif mark.key not in wanted or wanted[mark.key][0] <= mark.version:
            wanted[mark.key] = (mark.version, record)
    found = _rows_of(client, identity, chunk)
    left = {key for key, (version, _) in wanted.items() if found.get(key, -1) < version}
    for key, version in _look_up(client, identity, chunk.topic, left):
        if version >= wanted[key][0]:
            left.discard(key)
    for key in left:
        _, rejects = rows.read(chunk.topic, chunk.partition, [wanted.pop(key)[1]])
        tally.bad += len(rejects)
        tally.missing += not rejects
        if not rejects:
            tally.keys.append(np.array([key], np.uint64))
    tally.keys.append(np.fromiter(wanted, np.uint64, len(wanted)))


def _values(chunk: Chunk) -> list[Record]:
    """Return the records that should be rows or letters: a tombstone is neither."""
    if chunk.topic.cleanup is Cleanup.COMPACT:
        return [record for record in chunk.records if record.value is not None]
    return chunk.records


def _mark(identity: Identity, chunk: Chunk, record: Record) -> Mark | None:
    try:
        return identity.mark(chunk.topic, chunk.partition, record)
    except RecordError:
        return None


def _rows_of(client: Client, identity: Identity, chunk: Chunk) -> dict[int, int]:
    """Return key and version of the rows that say they came from where *chunk* did."""
    first, last = chunk.records[0].offset, chunk.records[-1].offset
    sql = (
        f"SELECT {HASH_SQL.format(key=identity.key_sql)} AS key, toInt64(max({identity.version_sql}))"  # noqa: S608
        f" FROM {chunk.topic.table} WHERE topic = {{topic:String}} AND `partition` = {{partition:UInt16}}"
        " AND `offset` BETWEEN {first:UInt64} AND {last:UInt64} GROUP BY key"
    )
    where = {"topic": chunk.topic.name, "partition": chunk.partition, "first": first, "last": last}
    return dict(_pairs(client, sql, where))


def _look_up(client: Client, identity: Identity, topic: Topic, keys: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield key and greatest version of the rows that have one of *keys*, wherever they came from."""
    key_sql = HASH_SQL.format(key=identity.key_sql)
    ordered = sorted(keys)
    for start in range(0, len(ordered), _LOOK_UP):
        some = ", ".join(map(str, ordered[start : start + _LOOK_UP]))
        sql = (
            f"SELECT {key_sql} AS key, toInt64(max({identity.version_sql}))"  # noqa: S608
            f" FROM {topic.table} WHERE key IN ({some}) GROUP BY key"
        )
        yield from _pairs(client, sql, {})


def _pairs(client: Client, sql: str, parameters: dict[str, Any]) -> list[tuple[int, int]]:
    return [(int(key), int(version)) for key, version in client.query(sql, parameters).result_rows]


def _twice(client: Client, topic: Topic) -> int:
    """Return how many rows too many the view shows of *topic*."""
    identity = identity_of(topic)
    sql = (
        f"SELECT count() - uniqExact({HASH_SQL.format(key=identity.key_sql)})"  # noqa: S608
        f" FROM v_{topic.table} WHERE topic = {{topic:String}}"
    )
    [[twice]] = client.query(sql, {"topic": topic.name}).result_rows
    return int(twice)
