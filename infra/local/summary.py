"""What a run did, counted twice by readers that know nothing of each other.

The simulator's journal, a plain Kafka consumer and ClickHouse each count; a pair that
disagrees is listed, and the run is not reconciled.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message
from msgspec import Struct

from infra.clickhouse import Role, connect
from infra.kafka import committed, group_lag, headers, read_to_end
from infra.local.journal import Act, read_journal
from infra.reference import in_force
from infra.settings import Settings
from pipelines.domain.calendar import add_working_time, working_time
from pipelines.domain.explain import Course, courses
from schemas import codec
from schemas.alerts import AlertKind
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.cases import LedgerEvent, LedgerKind, Level
from schemas.errors import RecordError
from schemas.policy import Policy, RungAct, TimeBase
from schemas.registry import load_registry
from schemas.topics import (
    ALERTS_CAMERA,
    ALERTS_SAFETY,
    ALERTS_SLA,
    CAMERA_EVENTS,
    CAMERA_TELEMETRY,
    CASE_EVENTS,
    CASES,
    CLOCK_TICKS,
    DEAD_LETTERS,
    REPORTS,
    TOPICS,
    Cleanup,
    Topic,
)

GROUPS = ("gridwatch-cases", "gridwatch-sink")
TABLES = sorted({topic.table for topic in TOPICS if topic.table is not None})
_ALERTS = (ALERTS_SLA, ALERTS_CAMERA, ALERTS_SAFETY)
_UNANSWERED = (None, 503)  # no answer came, or none in time: the record may be there
_REFUSED = (400, 413, 422, *_UNANSWERED)
_NEVER = datetime.min.replace(tzinfo=UTC)
_RANK = {level: rank for rank, level in enumerate(Level)}


class Summary(Struct, frozen=True, kw_only=True):
    """The JSON object that `gridwatch up --seconds N --json` prints."""

    ready_s: float
    reports_acked: int
    reports_in_topic: int
    cases_opened: int
    cases_in_ledger: int
    escalations: int
    escalations_due: int
    rungs: dict[str, int]
    alerts: int
    camera_events: int
    cameras_live: int
    dead_letters: int
    dead_letters_expected: int
    rows: dict[str, int]
    lag: dict[str, int]
    disagreements: list[str]
    reconciled: bool
    healthy: bool


def summarise(settings: Settings, *, ready_s: float, unhealthy: list[str], drained: bool) -> Summary:
    """Count a stopped run from its journal and its topics.

    Args:
        settings: where the broker and the journal are.
        ready_s: seconds from start to the last part being ready.
        unhealthy: parts that are down for good.
        drained: whether lag reached 0 in time.
    """
    journal = list(read_journal(settings.data_dir / "journal.jsonl"))
    acked = {entry.id for entry in journal if entry.act is Act.REPORT and entry.status == 201}
    unknown = {entry.id for entry in journal if entry.act is Act.REPORT and entry.status in _UNANSWERED}
    reported, letters = _ids(settings, REPORTS), _ids(settings, DEAD_LETTERS)
    expected = sum(entry.act is Act.BAD_RECORD for entry in journal)
    ledger = list(_values(settings, CASE_EVENTS))
    opened = {event.case_id for event in ledger if event.kind is LedgerKind.OPENED}
    cases = {(message.key() or b"").decode() for message in read_to_end(settings, CASES)}
    alerts = [alert for topic in _ALERTS for alert in _values(settings, topic)]
    climbed = {alert.alert_id: alert for alert in alerts if alert.kind is AlertKind.SLA_ESCALATION}
    due = escalations_due(ledger, _policies(settings), time_reached(settings))
    found = _differences(
        {
            "reports acknowledged but not in the topic": acked - reported,
            "reports in the topic that nobody sent": reported - acked - unknown,
            "cases on one of `cases` and the ledger only": cases ^ opened,
            "escalations due but not sent": due - climbed.keys(),
            "escalations sent but not due": climbed.keys() - due,
        }
    )
    taken = [entry.id for entry in journal if entry.act is Act.BAD_BODY and entry.status not in _REFUSED]
    if taken:
        found.append(f"bad bodies that were not refused: {len(taken)}, e.g. {taken[:3]}")
    if len(letters) != expected:
        found.append(f"dead letters: {len(letters)}, expected {expected}")
    rows, kept = _rows(settings), _kept(settings)
    found += [f"rows of {table}: {rows[table]}, in Kafka {n}" for table, n in kept.items() if rows[table] != n]
    return Summary(
        ready_s=round(ready_s, 2),
        reports_acked=len(acked),
        reports_in_topic=len(reported),
        cases_opened=len(cases),
        cases_in_ledger=len(opened),
        escalations=len(climbed),
        escalations_due=len(due),
        rungs=dict(Counter(str(alert.level) for alert in climbed.values() if not alert.repeat)),
        alerts=len({alert.alert_id for alert in alerts}),
        camera_events=len(_ids(settings, CAMERA_EVENTS)),
        cameras_live=_cameras_live(settings),
        dead_letters=len(letters),
        dead_letters_expected=expected,
        rows=rows,
        lag={group: work_lag(settings, group) for group in GROUPS},
        disagreements=found,
        reconciled=not found,
        healthy=not unhealthy and drained,
    )


def _differences(pairs: Mapping[str, Set[str]]) -> list[str]:
    return [f"{what}: {len(ids)}, e.g. {', '.join(sorted(ids)[:3])}" for what, ids in pairs.items() if ids]


def escalations_due(
    ledger: list[LedgerEvent], policies: Mapping[str, Policy], until: Mapping[str, datetime]
) -> set[str]:
    """Return the id of every escalation that must have been sent.

    Worked out from the lines that start and stop clocks and from the policy alone, apart from
    the engine's own arithmetic.

    Args:
        ledger: all lines, repeats included.
        policies: by case.
        until: how far time has reached, by grid.
    """
    by_case: dict[str, list[LedgerEvent]] = defaultdict(list)
    for event in ledger:
        by_case[event.case_id].append(event)
    due: set[str] = set()
    for case_id, lines in by_case.items():
        for course in courses(lines):
            end = course.stop.at if course.stop is not None else until[course.start.grid_id]
            due.update(_passed(course, end, policies[case_id]))
    return due


def _passed(course: Course, end: datetime, policy: Policy) -> Iterator[str]:
    """Yield the escalations of one clock that ran until *end*."""
    start, ladder = course.start, policy.file.ladder
    assert start.due_at is not None  # noqa: S101 - lines that start a clock carry its deadline
    above = [rung for rung in ladder.rungs if _RANK[rung.level] > _RANK[start.level]]
    top = ladder.rungs[-1]
    # A supervision notice is no escalation, and neither are its repeats; they take their time all the same.
    steps = [(rung.level, "escalated" if rung.act is RungAct.TRANSFER else None, 0, rung.budget_ms) for rung in above]
    again = None if above and top.act is RungAct.SUPERVISE else "reminded"
    steps += [(top.level, again, repeat, top.budget_ms) for repeat in range(1, ladder.repeats + 1)]
    adjustments = [event for event in course.adjustments if event.at <= end]
    at = start.due_at if above else _later(start.due_at, top.budget_ms, policy, start.item_code)
    for level, what, repeat, pause_ms in steps:
        while adjustments and adjustments[0].at < at:
            moved = _adjusted(at, adjustments, policy)
            if moved is None:
                return  # paused to the end
            at = moved
        if at > end:
            return
        if what is not None:
            yield f"{start.case_id}:{start.clock}:{start.number}:{level}:{what}:{repeat}"
        at = _later(at, pause_ms, policy, start.item_code)


def _adjusted(at: datetime, adjustments: list[LedgerEvent], policy: Policy) -> datetime | None:
    """Return when what was to come at *at* comes after the next pause or extension, which is taken off the list."""
    event = adjustments.pop(0)
    if event.kind is LedgerKind.EXTENDED:
        return _later(at, event.extended_ms or 0, policy, event.item_code)
    left_ms = _between(event.at, at, policy, event.item_code)
    while adjustments:
        after = adjustments.pop(0)
        if after.kind is LedgerKind.RESUMED:
            return _later(after.at, left_ms, policy, event.item_code)
        left_ms += after.extended_ms or 0
    return None


def _later(at: datetime, by_ms: int, policy: Policy, item_code: str) -> datetime:
    by = timedelta(milliseconds=by_ms)
    if policy.calendar is None or policy.items[item_code].time_base is TimeBase.NATURAL:
        return at + by
    return add_working_time(policy.calendar, at, by)


def _between(since: datetime, until: datetime, policy: Policy, item_code: str) -> int:
    if policy.calendar is None or policy.items[item_code].time_base is TimeBase.NATURAL:
        return (until - since) // timedelta(milliseconds=1)
    return working_time(policy.calendar, since, until) // timedelta(milliseconds=1)


def time_reached(settings: Settings) -> dict[str, datetime]:
    """Return how far the engine's time has come in each partition's grids, by grid id: its last committed tick."""
    done = {at.partition: at.offset for at in committed(settings, GROUPS[0]) if at.topic == CLOCK_TICKS.name}
    reached: dict[int, datetime] = {}
    for message in read_to_end(settings, CLOCK_TICKS):
        partition, offset = message.partition(), message.offset()
        tick = codec.decode(CLOCK_TICKS, message.value())
        if tick.at is not None and partition is not None and (offset or 0) < done.get(partition, 0):
            reached[partition] = tick.at
    grids = load_registry(settings.district_dir).grids
    return {grid: reached.get(codec.partition_of(grid, settings.partitions), _NEVER) for grid in grids}


def _rows(settings: Settings) -> dict[str, int]:
    """Return how many rows each table's view shows."""
    client = connect(settings, Role.READER)
    try:
        # The names are the contract's own, not anybody's input.
        return {table: client.query(f"SELECT count() FROM v_{table}").result_rows[0][0] for table in TABLES}  # noqa: S608
    finally:
        client.close()


def _kept(settings: Settings) -> dict[str, int]:
    """Return how many distinct records each table must show: decodable, repeats and old versions left out."""
    kept: dict[str, set[str]] = {table: set() for table in TABLES}
    for topic in TOPICS:
        if topic.table is not None:
            for message in read_to_end(settings, topic):
                identity = _identity(topic, message)
                if identity is not None:
                    kept[topic.table].add(identity)
    return {table: len(identities) for table, identities in kept.items()}


def _identity(topic: Topic, message: Message) -> str | None:
    """Return what makes a record one row, or None for one that cannot be a row."""
    if topic.kind is not None:
        try:
            codec.decode(topic, message.value())
        except RecordError:
            return None
    if topic.cleanup is Cleanup.COMPACT:
        return (message.key() or b"").decode()
    coordinates = f"{topic.name}/{message.partition()}/{message.offset()}"
    if topic is CAMERA_TELEMETRY:
        return coordinates
    return codec.header(headers(message), "ce_id") or coordinates


def _values(settings: Settings, topic: Topic) -> Iterator[Any]:
    """Yield the decodable values of a topic."""
    for message in read_to_end(settings, topic):
        with suppress(RecordError):
            yield codec.decode(topic, message.value())


def _ids(settings: Settings, topic: Topic) -> set[str]:
    """Return the distinct `ce_id`s of a topic; records without one are nobody's."""
    found = (codec.header(headers(message), "ce_id") for message in read_to_end(settings, topic))
    return {ident for ident in found if ident is not None}


def _policies(settings: Settings) -> dict[str, Policy]:
    """Return the policy each case was opened under, by case id."""
    policies = in_force(settings).policies
    return {case.case_id: policies[case.policy] for case in _values(settings, CASES)}


def _cameras_live(settings: Settings) -> int:
    latest: dict[str, CameraTelemetry] = {t.camera_id: t for t in _values(settings, CAMERA_TELEMETRY)}
    known = load_registry(settings.district_dir).cameras
    return sum(t.status is CameraStatus.LIVE for camera, t in latest.items() if camera in known)


def work_lag(settings: Settings, group: str) -> int:
    """Return the records *group* has yet to read; ticks go on for ever and do not count."""
    return sum(n for topic, n in group_lag(settings, group).items() if topic != CLOCK_TICKS.name)
