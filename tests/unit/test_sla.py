"""The ladder's arithmetic."""

from datetime import datetime, timedelta

import pytest

from pipelines.domain import cases, sla
from schemas.cases import Clock, LedgerKind, Level, Move, Timer
from tests.builders import NINE, POLICY, a_case, moved, opened, seconds

LADDER = POLICY.file.ladder


def timer(from_level: Level) -> Timer:
    return Timer(
        clock=Clock.DISPOSE,
        armed=3,
        started_at=NINE,
        due_at=NINE + seconds(20),
        from_level=from_level,
        step=0,
        next_at=None,
    )


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        (Level.VILLAGE, [15, 20, 28, 36, 46, 56, None]),
        (Level.STREET, [15, 20, 28, 38, 48, None]),
        (Level.DISTRICT, [15, 20, 30, 40, None]),
        (Level.DEPARTMENT, [15, 20, 30, 40, None]),
    ],
)
def test_steps_come_when_the_policy_says(level: Level, steps: list[float | None]) -> None:
    """Warn at 75 %, breach at 100 %, one rung after the other, two repeats at the top, then nothing."""
    got = [sla.step_at(timer(level), step, POLICY.sla("01001"), LADDER) for step in range(len(steps))]

    assert got == [None if s is None else NINE + seconds(s) for s in steps]


def test_the_ladder_is_climbed_rung_by_rung_and_ends() -> None:
    """An unacknowledged case is warned, breaches once, climbs three rungs and is repeated twice at the top."""
    outcome = cases.fire(opened().case, NINE + timedelta(hours=1), POLICY)

    assert [(e.kind, e.level) for e in outcome.events] == [
        (LedgerKind.WARNED, Level.VILLAGE),
        (LedgerKind.BREACHED, Level.VILLAGE),
        (LedgerKind.ESCALATED, Level.STREET),
        (LedgerKind.ESCALATED, Level.DISTRICT),
        (LedgerKind.ESCALATED, Level.DEPARTMENT),
        (LedgerKind.REMINDED, Level.DEPARTMENT),
        (LedgerKind.REMINDED, Level.DEPARTMENT),
    ]
    assert outcome.case.breaches == 1
    assert outcome.case.timer is not None
    assert outcome.case.timer.next_at is None


@pytest.mark.parametrize("cut", [NINE + seconds(s) for s in (0, 6, 7.9, 8, 8.1, 16, 30)])
def test_where_time_is_cut_changes_nothing(cut: datetime) -> None:
    """Two adjoining intervals fire what one fires, with the same ids, and no step twice."""
    case, end = opened().case, NINE + seconds(40)

    first = cases.fire(case, cut, POLICY)
    second = cases.fire(first.case, end, POLICY)

    assert first.events + second.events == cases.fire(case, end, POLICY).events


def test_nothing_fires_early() -> None:
    """A step carries its own due time and never comes before it."""
    case = opened().case

    assert cases.fire(case, NINE + seconds(5.999), POLICY).events == []
    late = cases.fire(case, NINE + timedelta(days=1), POLICY).events
    assert [e.at for e in late[:3]] == [NINE + seconds(6), NINE + seconds(8), NINE + seconds(8)]


def test_a_new_clock_climbs_from_where_the_case_stands() -> None:
    """A case acknowledged after it reached the street climbs to the district next."""
    at_street = cases.fire(opened().case, NINE + seconds(9), POLICY).case
    acknowledged = moved(at_street, Move.ACKNOWLEDGE, at=NINE + seconds(10))

    events = cases.fire(acknowledged, NINE + seconds(31), POLICY).events

    assert [(e.kind, e.level) for e in events][-2:] == [
        (LedgerKind.BREACHED, Level.STREET),
        (LedgerKind.ESCALATED, Level.DISTRICT),
    ]


def test_an_acknowledgement_stops_the_clock() -> None:
    """After an acknowledgement in time the old clock says nothing more."""
    acknowledged = moved(a_case(), Move.ACKNOWLEDGE, at=NINE + seconds(5))

    assert cases.fire(acknowledged, NINE + seconds(19), POLICY).events == []
