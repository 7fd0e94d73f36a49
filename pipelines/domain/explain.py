"""Why a deadline is when it is: every interval of every clock of a case, counted or not. Pure.

The ledger says when clocks started, stood still, were given more and stopped; the policy frozen
on the case says the rest. Nothing is taken from the case's state, so the explanation checks what
the engine did: `recorded_due_at` is what the ledger says, `due_at` what follows from it here.

Adding up what counts of a clock's intervals gives its budget exactly at `due_at`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from pipelines.domain import sla
from pipelines.domain.calendar import stretches
from schemas.cases import Clock, LedgerEvent, LedgerKind, Level, Stage, Timer
from schemas.fields import CaseId, Instant, ItemCode
from schemas.policy import Policy, RungAct, TimeBase

STEPS: Final = frozenset(
    {LedgerKind.WARNED, LedgerKind.BREACHED, LedgerKind.ESCALATED, LedgerKind.NOTIFIED, LedgerKind.REMINDED}
)
_ADJUSTS: Final = frozenset({LedgerKind.PAUSED, LedgerKind.RESUMED, LedgerKind.EXTENDED})
_MILLISECOND: Final = timedelta(milliseconds=1)


class Reason(StrEnum):
    """Why an interval counts, or does not; those of working time are `Why`'s."""

    NATURAL = "natural"  # 自然时间
    OFFICE_HOURS = "office_hours"
    MAKE_UP = "make_up"
    LUNCH = "lunch"
    OFF_HOURS = "off_hours"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"
    PAUSED = "paused"  # 暂停


class State(StrEnum):
    """How a clock stands."""

    RUNNING = "running"
    PAUSED = "paused"
    MET = "met"  # stopped in time
    BREACHED = "breached"  # the deadline passed, whether it stopped afterwards or not


class Interval(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A half-open interval, and whether the clock counted it."""

    since: Instant
    until: Instant
    counted: bool
    reason: Reason
    total_ms: Annotated[int, Meta(description="counted from the start of the clock to the end of this interval")]
    day: Annotated[str | None, Meta(description="holiday or make-up workday, in Chinese")] = None
    day_en: str | None = None
    is_provisional: Annotated[bool, Meta(description="in a year that nobody has announced")] = False


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of the ladder that the clock took."""

    kind: LedgerKind
    at: Instant
    level: Level
    repeat: int = 0


class Run(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One clock from its start to its end: its intervals up to where it stopped, or else to its deadline."""

    clock: Clock
    armed: Annotated[int, Meta(description="ledger number of the event that started it")]
    time_base: TimeBase
    started_at: Instant
    budget_ms: Annotated[int, Meta(description="extensions included")]
    warn_share: float
    due_at: Annotated[Instant | None, Meta(description="as it follows from ledger and policy; null while paused")]
    recorded_due_at: Annotated[Instant | None, Meta(description="as the last line that set it has it")]
    state: State
    intervals: list[Interval]
    extended_ms: int = 0
    stopped_at: Instant | None = None
    stopped_by: LedgerKind | None = None
    steps: list[Step] = []


class Explanation(Struct, frozen=True, kw_only=True):
    """Every clock of one case."""

    case_id: CaseId
    item_code: ItemCode
    item: str
    item_en: str
    policy: Annotated[str, Meta(description="content hash of the policy frozen on the case")]
    zone: Annotated[str, Meta(description="IANA name, for people; instants are absolute")]
    runs: list[Run]


class Course(Struct, frozen=True, kw_only=True):
    """What the ledger says of one run of one clock."""

    start: LedgerEvent
    adjustments: list[LedgerEvent]
    steps: list[LedgerEvent]
    stop: LedgerEvent | None


def explain(events: Sequence[LedgerEvent], policy: Policy, policy_id: str) -> Explanation:
    """Explain the clocks of one case.

    Args:
        events: all ledger lines of the case, at least the one that opened it; repeats and any order are fine.
        policy: the one the case was opened under.
        policy_id: its content hash.
    """
    first = min(events, key=lambda event: event.number)
    item = policy.items[first.item_code]
    return Explanation(
        case_id=first.case_id,
        item_code=item.code,
        item=item.name,
        item_en=item.name_en,
        policy=policy_id,
        zone=policy.calendar.zone if policy.calendar else "UTC",
        runs=[_run(course, policy) for course in courses(events)],
    )


def courses(events: Sequence[LedgerEvent]) -> list[Course]:
    """Return the runs of a case's clocks, in their order.

    A line with a clock that is no step and no adjustment started that clock; the next such line,
    or one that left the case archived, stopped it.
    """
    ordered = [event for _, event in sorted({event.number: event for event in events}.items())]
    found: list[Course] = []
    start: LedgerEvent | None = None
    meanwhile: list[LedgerEvent] = []
    for event in ordered:
        starts = event.clock is not None and event.kind not in STEPS | _ADJUSTS
        if start is not None and (starts or event.stage is Stage.ARCHIVED):
            found.append(_course(start, meanwhile, event))
            start = None
        if starts:
            start, meanwhile = event, []
        else:
            meanwhile.append(event)
    return found if start is None else [*found, _course(start, meanwhile, None)]


def _course(start: LedgerEvent, meanwhile: list[LedgerEvent], stop: LedgerEvent | None) -> Course:
    return Course(
        start=start,
        adjustments=[event for event in meanwhile if event.kind in _ADJUSTS],
        steps=[event for event in meanwhile if event.kind in STEPS],
        stop=stop,
    )


class Taken(Struct, frozen=True, kw_only=True):
    """One step that a clock took."""

    step: int
    at: datetime
    rung: Level | None  # that it climbed to


def follow(course: Course, policy: Policy, level: Level, until: datetime | None) -> tuple[Timer, list[Taken]]:
    """Return the clock of *course* as *policy* has it, and the steps it took.

    Args:
        course: of a case that was at *level* when the clock started.
        policy: any that knows the item.
        level: where its ladder begins.
        until: how far to follow a clock that was not stopped; None for only as far as something was done to it.
    """
    start = course.start
    assert start.clock is not None  # noqa: S101 - a course starts with a clock
    timer = sla.start(replace(start, level=level), start.clock, armed=start.number, at=start.at, policy=policy)
    taken: list[Taken] = []
    for event in course.adjustments:
        timer, more = _fired(timer, event.at, policy, start.item_code)
        taken += more
        timer = _adjusted(timer, event, policy)
    end = course.stop.at if course.stop is not None else until
    if end is None:
        return timer, taken
    timer, more = _fired(timer, end, policy, start.item_code)
    return timer, taken + more


def _fired(timer: Timer, until: datetime, policy: Policy, item_code: str) -> tuple[Timer, list[Taken]]:
    taken = []
    while timer.next_at is not None and timer.next_at <= until:
        rung = sla.rung_of(timer, timer.step, policy.file.ladder)
        climbed = rung.level if rung is not None and rung.act is RungAct.TRANSFER else None
        taken.append(Taken(step=timer.step, at=timer.next_at, rung=climbed))
        timer = sla.advance(timer, policy, item_code)
    return timer, taken


def _adjusted(timer: Timer, event: LedgerEvent, policy: Policy) -> Timer:
    if event.kind is LedgerKind.PAUSED:
        return sla.pause(timer, event.at)
    if event.kind is LedgerKind.RESUMED:
        return sla.resume(timer, event.at, policy, event.item_code)
    return sla.extend(timer, event.extended_ms or 0, policy, event.item_code)


def _run(course: Course, policy: Policy) -> Run:
    start, stop = course.start, course.stop
    timer, _ = follow(course, policy, start.level, None)
    terms = policy.terms(start.item_code, timer.clock)
    is_breached = timer.step > sla.BREACH or any(event.kind is LedgerKind.BREACHED for event in course.steps)
    due_at = timer.due_at if timer.paused_at is None or is_breached else None
    end = stop.at if stop is not None else timer.paused_at or timer.due_at
    return Run(
        clock=timer.clock,
        armed=timer.armed,
        time_base=terms.time_base,
        started_at=timer.started_at,
        budget_ms=terms.budget // _MILLISECOND + timer.extended_ms,
        extended_ms=timer.extended_ms,
        warn_share=policy.sla(start.item_code).warn_share,
        due_at=due_at,
        recorded_due_at=[start, *course.adjustments][-1].due_at,
        state=_state(timer, stop, is_breached=is_breached),
        stopped_at=stop.at if stop else None,
        stopped_by=stop.kind if stop else None,
        intervals=list(_intervals(course, policy, terms.time_base, due_at, end)),
        steps=[Step(kind=e.kind, at=e.at, level=e.told or e.level, repeat=e.repeat) for e in course.steps],
    )


def _state(timer: Timer, stop: LedgerEvent | None, *, is_breached: bool) -> State:
    if is_breached:
        return State.BREACHED
    if stop is not None:
        return State.MET
    return State.RUNNING if timer.paused_at is None else State.PAUSED


def _intervals(
    course: Course, policy: Policy, time_base: TimeBase, due_at: datetime | None, end: datetime
) -> Iterator[Interval]:
    """Yield the time from the start of the clock to *end*, cut at pauses, at the deadline and by the calendar."""
    pauses = list(_pauses(course, end))
    edges = {course.start.at, end, *(edge for pause in pauses for edge in pause)}
    if due_at is not None and course.start.at < due_at < end:
        edges.add(due_at)
    total = timedelta(0)
    for since, until in pairwise(sorted(edges)):
        is_paused = any(start <= since < stop for start, stop in pauses)
        for piece in [_plain(since, until, Reason.PAUSED)] if is_paused else _open(since, until, policy, time_base):
            total += (piece.until - piece.since) * piece.counted
            yield replace(piece, total_ms=total // _MILLISECOND)


def _pauses(course: Course, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    since: datetime | None = None
    for event in course.adjustments:
        if event.kind is LedgerKind.PAUSED:
            since = event.at
        elif event.kind is LedgerKind.RESUMED and since is not None:
            yield since, event.at
            since = None
    if since is not None and since < end:
        yield since, end


def _plain(since: datetime, until: datetime, reason: Reason) -> Interval:
    return Interval(since=since, until=until, counted=reason is Reason.NATURAL, reason=reason, total_ms=0)


def _open(since: datetime, until: datetime, policy: Policy, time_base: TimeBase) -> Iterator[Interval]:
    """Yield the pieces of an interval in which nobody paused the clock."""
    if time_base is TimeBase.NATURAL or policy.calendar is None:
        yield _plain(since, until, Reason.NATURAL)
        return
    for stretch in stretches(policy.calendar, since, until):
        yield Interval(
            since=stretch.since,
            until=stretch.until,
            counted=stretch.counted,
            reason=Reason(stretch.why),
            total_ms=0,
            day=stretch.day.name if stretch.day else None,
            day_en=stretch.day.name_en if stretch.day else None,
            is_provisional=stretch.is_provisional,
        )
