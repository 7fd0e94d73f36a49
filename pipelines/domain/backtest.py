"""What would have been late under another policy: a ledger's clocks, run again. Pure.

People are taken to have acted when they did: starts, stops, pauses and extensions stay where the
ledger has them, and only limits, ladder and calendar change. Both sides are computed the same
way, one with the policy frozen on each case, one with the candidate; what the ledger recorded
stands beside them, so a reader sees that the first side is the truth.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from pipelines.domain import sla
from pipelines.domain.explain import STEPS, Course, courses, follow
from schemas.cases import LedgerEvent, LedgerKind, Level
from schemas.policy import Policy


class Side(StrEnum):
    """Whose breaches."""

    RECORDED = "recorded"  # in the ledger
    BEFORE = "before"  # under the policy of each case
    AFTER = "after"  # under the candidate


class Dimension(StrEnum):
    """What breaches are counted by."""

    TOTAL = "total"
    ITEM = "item"
    GRID = "grid"
    LEVEL = "level"  # of the rung climbed


class Line(Struct, frozen=True, kw_only=True):
    """Breaches of one item or grid; climbs to one level."""

    dimension: Dimension
    key: str
    clocks: int  # that were started
    recorded: int
    before: int
    after: int


class Comparison(Struct, frozen=True, kw_only=True):
    """Two policies over one span of a ledger."""

    since: datetime
    until: datetime
    cases: int
    unknown: int  # cases of items that the candidate does not have; left out
    lines: list[Line]  # total, then items, grids and levels in their order


def backtest(
    ledger: Iterable[LedgerEvent],
    frozen: Mapping[str, Policy],
    candidate: Policy,
    since: datetime,
    until: datetime,
) -> Comparison:
    """Compare the breaches of clocks that were started in [*since*, *until*).

    Lines from *until* on do not count, so a past span gives the same answer for ever. A clock that
    nobody stopped is followed to *until*, or as far as the ledger goes.

    Args:
        ledger: lines of any cases in any order; repeats count once.
        frozen: the policy of each case, by its id.
        candidate: the policy to try.
        since: first instant.
        until: instant after the last.
    """
    by_case: dict[str, list[LedgerEvent]] = {}
    for event in ledger:
        if event.at < until:
            by_case.setdefault(event.case_id, []).append(event)
    horizon = max((event.at for events in by_case.values() for event in events), default=since)
    known = {case_id: events for case_id, events in by_case.items() if events[0].item_code in candidate.items}
    counts: dict[Side, Counter[tuple[Dimension, str]]] = {side: Counter() for side in Side}
    clocks: Counter[tuple[Dimension, str]] = Counter()
    for case_id, events in known.items():
        for side, policy in ((Side.BEFORE, frozen[case_id]), (Side.AFTER, candidate)):
            counts[side].update(_missed(events, policy, since, horizon))
        for course in _started_since(courses(events), since):
            clocks.update(_keys(course))
            counts[Side.RECORDED].update(_recorded(course))
    return Comparison(
        since=since, until=until, cases=len(known), unknown=len(by_case) - len(known), lines=_lines(clocks, counts)
    )


def _lines(clocks: Counter[tuple[Dimension, str]], counts: Mapping[Side, Counter[tuple[Dimension, str]]]) -> list[Line]:
    keys = set(clocks).union(*counts.values())
    order, levels = list(Dimension), [str(level) for level in Level]

    def place(key: tuple[Dimension, str]) -> tuple[int, int, str]:
        dimension, name = key
        return order.index(dimension), levels.index(name) if dimension is Dimension.LEVEL else 0, name

    return [
        Line(
            dimension=key[0],
            key=key[1],
            clocks=clocks[key],
            recorded=counts[Side.RECORDED][key],
            before=counts[Side.BEFORE][key],
            after=counts[Side.AFTER][key],
        )
        for key in sorted(keys, key=place)
    ]


def _started_since(found: Iterable[Course], since: datetime) -> Iterator[Course]:
    return (course for course in found if course.start.at >= since)


def _keys(course: Course) -> list[tuple[Dimension, str]]:
    """Return what a breach of *course* counts for."""
    return [
        (Dimension.TOTAL, ""),
        (Dimension.ITEM, course.start.item_code),
        (Dimension.GRID, course.start.grid_id),
    ]


def _recorded(course: Course) -> Iterator[tuple[Dimension, str]]:
    for event in course.steps:
        if event.kind is LedgerKind.BREACHED:
            yield from _keys(course)
        elif event.kind is LedgerKind.ESCALATED:
            yield Dimension.LEVEL, event.level


def _missed(
    events: Sequence[LedgerEvent], policy: Policy, since: datetime, horizon: datetime
) -> Iterator[tuple[Dimension, str]]:
    """Yield what each breach and each climb of a case counts for, under *policy*."""
    placed = _placed(events)
    level = Level.VILLAGE
    for course in courses(events):
        level = placed.get(course.start.number, level)
        _, taken = follow(course, policy, level, horizon)
        for step in taken:
            level = step.rung or level
            if course.start.at < since:
                continue
            if step.step == sla.BREACH:
                yield from _keys(course)
            if step.rung is not None:
                yield Dimension.LEVEL, step.rung


def _placed(events: Sequence[LedgerEvent]) -> dict[int, Level]:
    """Return the level of each start of a clock where people, not the ladder, had put the case since the last one."""
    found: dict[int, Level] = {}
    before, moved = None, None
    for event in sorted(events, key=lambda event: event.number):
        if event.level is not before and event.kind not in STEPS:
            moved = event.level
        before = event.level
        if moved is not None and event.clock is not None and event.kind not in STEPS:
            found[event.number], moved = moved, None
    return found
