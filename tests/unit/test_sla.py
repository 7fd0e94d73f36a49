"""The ladder's arithmetic."""

from datetime import datetime, timedelta

import pytest

from pipelines.domain import cases, sla
from schemas.cases import Clock, LedgerKind, Level, Move, Timer
from tests.builders import NINE, POLICY, a_case, moved, opened, seconds


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
        (Level.VILLAGE, [15, 20, 28, 32, 40, 50, 60, None]),
        (Level.STREET, [15, 20, 24, 32, 42, 52, None]),
        (Level.DISTRICT, [15, 20, 30, 40, None]),
        (Level.DEPARTMENT, [15, 20, 30, 40, None]),
    ],
)
def test_steps_come_when_the_policy_says(level: Level, steps: list[float | None]) -> None:
    """Warn at 75 %, breach at 100 %, one rung after the other, two repeats at the top, then nothing."""
    got = [sla.step_at(timer(level), step, POLICY, "01001") for step in range(len(steps))]

    assert got == [None if s is None else NINE + seconds(s) for s in steps]


def test_the_ladder_is_climbed_rung_by_rung_and_ends() -> None:
    """An unacknowledged case is warned, breaches once, climbs three rungs and is repeated twice at the top.

    The district is told (督办) before the case becomes its own.
    """
    outcome = cases.fire(opened().case, NINE + timedelta(hours=1), POLICY)

    assert [(e.kind, e.level) for e in outcome.events] == [
        (LedgerKind.WARNED, Level.VILLAGE),
        (LedgerKind.BREACHED, Level.VILLAGE),
        (LedgerKind.ESCALATED, Level.STREET),
        (LedgerKind.NOTIFIED, Level.STREET),
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

    events = cases.fire(acknowledged, NINE + seconds(35), POLICY).events

    assert [(e.kind, e.level) for e in events][-3:] == [
        (LedgerKind.BREACHED, Level.STREET),
        (LedgerKind.NOTIFIED, Level.STREET),
        (LedgerKind.ESCALATED, Level.DISTRICT),
    ]


def test_an_acknowledgement_stops_the_clock() -> None:
    """After an acknowledgement in time the old clock says nothing more."""
    acknowledged = moved(a_case(), Move.ACKNOWLEDGE, at=NINE + seconds(5))

    assert cases.fire(acknowledged, NINE + seconds(19), POLICY).events == []


def test_a_pause_moves_all_that_is_to_come_by_its_length() -> None:
    """Two pauses before the warning: warning, breach and rungs come later by both together."""
    started = sla.start(a_case(), Clock.DISPOSE, armed=3, at=NINE, policy=POLICY)

    paused = sla.pause(started, NINE + seconds(4))
    once = sla.resume(paused, NINE + seconds(11), POLICY, "01001")
    twice = sla.resume(sla.pause(once, NINE + seconds(12)), NINE + seconds(15), POLICY, "01001")

    assert paused.next_at is None
    assert (once.next_at, once.due_at) == (NINE + seconds(15 + 7), NINE + seconds(20 + 7))
    assert (twice.next_at, twice.due_at) == (NINE + seconds(15 + 10), NINE + seconds(20 + 10))
    assert sla.step_at(twice, 2, POLICY, "01001") == NINE + seconds(28 + 10)


def test_an_extension_moves_the_deadline_by_what_was_granted() -> None:
    """The budget grows: its share for the warning too; a warning given is not taken back."""
    started = sla.start(a_case(), Clock.DISPOSE, armed=3, at=NINE, policy=POLICY)
    warned = sla.advance(started, POLICY, "01001")

    assert sla.extend(started, 20_000, POLICY, "01001").next_at == NINE + seconds(30)
    assert sla.extend(warned, 20_000, POLICY, "01001").next_at == NINE + seconds(40)
    assert sla.extend(warned, 20_000, POLICY, "01001").due_at == NINE + seconds(40)


def test_nothing_undoes_a_breach() -> None:
    """After the breach the deadline stays what it was; pause and extension only put the next rung off."""
    warned = sla.advance(sla.start(a_case(), Clock.DISPOSE, armed=3, at=NINE, policy=POLICY), POLICY, "01001")
    breached = sla.advance(warned, POLICY, "01001")

    resumed = sla.resume(sla.pause(breached, NINE + seconds(21)), NINE + seconds(24), POLICY, "01001")
    extended = sla.extend(breached, 5_000, POLICY, "01001")

    assert (resumed.due_at, resumed.next_at) == (NINE + seconds(20), NINE + seconds(28 + 3))
    assert (extended.due_at, extended.next_at) == (NINE + seconds(20), NINE + seconds(28 + 5))


def test_an_extension_of_a_paused_clock_waits_for_its_resumption() -> None:
    """A clock that stands still is extended without starting it."""
    paused = sla.pause(sla.start(a_case(), Clock.DISPOSE, armed=3, at=NINE, policy=POLICY), NINE + seconds(4))

    extended = sla.extend(paused, 20_000, POLICY, "01001")

    assert (extended.paused_at, extended.next_at, extended.due_at) == (NINE + seconds(4), None, NINE + seconds(40))
    assert sla.resume(extended, NINE + seconds(5), POLICY, "01001").due_at == NINE + seconds(41)
