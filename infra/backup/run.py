"""A whole backup and a whole restore, in the order that keeps them usable whatever runs or dies meanwhile."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from confluent_kafka import ConsumerGroupState, KafkaException, TopicPartition
from msgspec import Struct

from infra.backup.evidence import copy_intake, copy_photos, has_evidence, restore_evidence
from infra.backup.filling import create_empty, fill, finish
from infra.backup.manifest import FORMAT, Draft, Manifest, draft, load
from infra.backup.tables import check_known, copy_tables, left_out, ran_migrations, restore_tables, rows_kept
from infra.backup.topics import copy_topics
from infra.clickhouse import Role, connect
from infra.clock import monotonic_s
from infra.kafka import bounds, committed, consumer
from infra.local.ports import is_taken
from infra.local.summary import GROUPS
from infra.migrate import target_of
from infra.provision import admin, apply_topics, asking, check_topics
from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError
from schemas.topics import TOPICS

_TABLE_S: Final = 600.0  # a large table is acknowledged as a whole
_IDLE: Final = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN})
_OURS: Final = "gridwatch-"
_SESSION_SLACK_S: Final = 3.0
_LOOK_S: Final = 0.2
_COORDINATOR_S: Final = 30.0

Say = Callable[[str, str], None]
T = TypeVar("T")


class Held(Struct, frozen=True, kw_only=True):
    """What a backup holds, or a restore put back."""

    topics: int
    records: int
    tables: int
    rows: int
    photos: int
    files: int
    bytes: int


def held(manifest: Manifest) -> Held:
    """Count what is in a backup."""
    return Held(
        topics=len(manifest.topics),
        records=sum(partition.records for topic in manifest.topics for partition in topic.partitions),
        tables=len(manifest.tables),
        rows=sum(table.rows for table in manifest.tables),
        photos=sum(kept.path.startswith("photos/") for kept in manifest.files),
        files=len(manifest.files),
        bytes=sum(kept.bytes for kept in manifest.files),
    )


def backup(settings: Settings, target: Path, now: datetime, say: Say) -> Held:
    """Write everything into the new directory *target*; the stack may run on.

    Committed offsets are read first, tables and spool before topics: a restored sink writes again what it
    is not sure of, no row speaks of a record that the backup lacks, and a report that leaves the spool
    meanwhile is in the topics.

    Raises:
        SetupError: *target* exists, or broker and contract disagree.
        UnavailableError: broker or warehouse stopped answering; nothing is left of the attempt.
    """
    check_topics(settings)
    with draft(target) as written:
        manifest = _written(settings, written, now, say)
        written.seal(manifest)
    return held(manifest)


def _written(settings: Settings, written: Draft, now: datetime, say: Say) -> Manifest:
    named = sorted({*GROUPS, *_groups(settings)})
    groups = {group: _by_topic(_patiently(partial(committed, settings, group))) for group in named}
    with closing(connect(settings, Role.WRITER, timeout_s=_TABLE_S)) as client:
        ran = ran_migrations(client)
        tables = []
        for table in copy_tables(client, written):
            tables.append(table)
            say("table", f"{table.name}  {table.rows} rows")
        for name in left_out(client):
            say("left out", f"{name}  no table of this release")
    copy_intake(settings, written)
    topics = []
    for topic in copy_topics(settings, written):
        topics.append(topic)
        say("topic", f"{topic.name}  {sum(partition.records for partition in topic.partitions)} records")
    say("photos", f"{copy_photos(settings, written)} copied")
    return Manifest(
        format=FORMAT,
        taken_at=now.isoformat(),
        topics=topics,
        groups={group: places for group, places in groups.items() if places},
        tables=tables,
        migrations=ran,
        files=written.files,
    )


def _groups(settings: Settings) -> list[str]:
    with asking() as deadline_s:
        found = admin(settings).list_consumer_groups().result(deadline_s).valid
    return [group.group_id for group in found if group.group_id.startswith(_OURS)]


def _patiently(work: Callable[[], T]) -> T:
    """Return what *work* does, tried again for a while: a broker that was just started has no coordinators yet."""
    deadline = monotonic_s() + _COORDINATOR_S
    while True:
        try:
            return work()
        except UnavailableError:
            if monotonic_s() > deadline:
                raise
        time.sleep(_LOOK_S)


def _by_topic(places: list[TopicPartition]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for at in places:
        found.setdefault(at.topic, {})[at.partition] = at.offset
    return found


def restore(settings: Settings, source: Path, say: Say, *, replace: bool) -> Held:
    """Put the backup in *source* back into broker, warehouse and photo store; no process of ours may run.

    Every hash is checked before anything is touched. Interrupted, it leaves topics that no worker
    accepts: run it again with *replace*.

    Raises:
        SetupError: the backup is damaged or of another shape, something runs, or something is there and not *replace*.
        UnavailableError: broker or warehouse stopped answering.
    """
    manifest = load(source)
    _check_fits(settings, manifest)
    _check_nobody_works(settings)
    with closing(connect(settings, Role.WRITER, timeout_s=_TABLE_S)) as client:
        if not replace:
            _check_empty(settings, rows_kept(client))
        create_empty(settings, [topic.name for topic in manifest.topics])
        restore_tables(client, target_of(settings), source, manifest.tables, manifest.migrations)
        say("tables", f"{len(manifest.tables)} filled")
    restore_evidence(settings, source, manifest)
    moved: list[tuple[str, TopicPartition]] = []
    for topic in manifest.topics:
        there = {group: topics[topic.name] for group, topics in manifest.groups.items() if topic.name in topics}
        for group, offsets in fill(settings, source, topic, there).items():
            moved += [(group, TopicPartition(topic.name, p, offset)) for p, offset in offsets.items()]
        say("topic", topic.name)
    for group in {group for group, _ in moved}:
        places = [place for name, place in moved if name == group]
        _patiently(partial(_commit, settings, group, places))
    finish(settings, manifest.topics)
    apply_topics(settings)  # those that the backup's release did not have yet
    return held(manifest)


def _check_fits(settings: Settings, manifest: Manifest) -> None:
    check_known(manifest.tables, manifest.migrations)
    ours = {topic.name for topic in TOPICS}
    if unknown := [topic.name for topic in manifest.topics if topic.name not in ours]:
        raise SetupError(", ".join(unknown), "are no topics of this release")
    counts = {len(topic.partitions) for topic in manifest.topics}
    if counts != {settings.partitions}:
        raise SetupError("GRIDWATCH_PARTITIONS", f"is {settings.partitions}; the backup has {sorted(counts)}")


def _check_nobody_works(settings: Settings) -> None:
    """Refuse while a group has members; one that was just stopped has its name until its session ends."""
    if is_taken(settings.host, settings.intake_port):
        raise SetupError("intake", "takes reports: stop everything but broker and warehouse first")
    deadline = monotonic_s() + settings.session_timeout_s + _SESSION_SLACK_S
    while busy := _busy(settings):
        if monotonic_s() > deadline:
            raise SetupError(", ".join(busy), "are at work: stop everything but broker and warehouse first")
        time.sleep(_LOOK_S)


def _busy(settings: Settings) -> list[str]:
    with asking() as deadline_s:
        groups = _groups(settings)
        described = admin(settings).describe_consumer_groups(groups) if groups else {}
        return [name for name, future in described.items() if future.result(deadline_s).state not in _IDLE]


def _check_empty(settings: Settings, rows: int) -> None:
    with asking() as deadline_s:
        present = admin(settings).list_topics(timeout=deadline_s).topics
    full = [
        topic.name
        for topic in TOPICS
        if topic.name in present and any(end for _, end in bounds(settings, topic.name).values())
    ]
    if full or rows or has_evidence(settings):
        what = ", ".join([*full, *(["the warehouse"] if rows else []), *(["photos"] if has_evidence(settings) else [])])
        raise SetupError(what, "hold something already; --replace deletes it first")


def _commit(settings: Settings, group: str, places: list[TopicPartition]) -> None:
    with closing(consumer(settings, group)) as committing:
        try:
            done = committing.commit(offsets=places, asynchronous=False) or []
        except KafkaException as error:
            raise UnavailableError("kafka", str(error)) from error
    if refused := [at for at in done if at.error]:
        raise UnavailableError("kafka", f"{group} on {refused[0].topic}: {refused[0].error}")
