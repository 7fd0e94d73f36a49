"""The reconciliation's own arithmetic against the engine's: pauses, extensions, notices, any end."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.local.summary import escalations_due
from pipelines.domain import cases, sla
from schemas.cases import Case, LedgerEvent, LedgerKind, Level, Timer
from schemas.policy import Policy, Rung, RungAct, TimeBase
from tests.builders import GRID, POLICY, opened

FRIDAY = datetime(2026, 3, 6, 16, tzinfo=ZoneInfo("Asia/Shanghai"))
HOUR_MS = 3_600_000
acts = st.lists(st.tuples(st.sampled_from(["pause", "resume", "extend"]), st.integers(1, 600)), min_size=2, max_size=6)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Return a policy with hours for the demo's seconds, on either time, some rungs only told."""
    rungs = [
        Rung(level=level, budget_ms=draw(st.integers(1, 5)) * HOUR_MS, act=draw(st.sampled_from(RungAct)))
        for level in (Level.STREET, Level.DISTRICT, Level.DEPARTMENT)
    ]
    classes = [
        replace(c, budgets_ms={clock: draw(st.integers(1, 9)) * HOUR_MS for clock in c.budgets_ms})
        for c in POLICY.file.classes
    ]
    file = replace(POLICY.file, classes=classes, ladder=replace(POLICY.file.ladder, rungs=rungs))
    item = replace(POLICY.items["01001"], time_base=draw(st.sampled_from(TimeBase)))
    return Policy(file=file, items={"01001": item}, groups=POLICY.groups, calendar=POLICY.calendar)


def adjusted(case: Case, kind: LedgerKind, at: datetime, timer: Timer) -> tuple[Case, LedgerEvent]:
    """Return *case* with *timer*, and the line that says so."""
    assert case.timer is not None
    granted = timer.extended_ms - case.timer.extended_ms
    case = replace(case, version=case.version + 1, timer=timer)
    line = cases.ledger_event(case, f"n-{case.version}", kind, at, clock=timer.clock)
    return case, replace(line, extended_ms=granted or None)


@settings(max_examples=200, deadline=None)
@given(policy=policies(), plan=acts, last=st.integers(0, 30 * 60))
def test_both_say_the_same_escalations(policy: Policy, plan: list[tuple[str, int]], last: int) -> None:
    """Two ways to count, one set of ids."""
    at = FRIDAY
    outcome = opened(at=at, policy=policy)
    case, events = outcome.case, list(outcome.events)
    for act, minutes in [*plan, ("end", last)]:
        at += timedelta(minutes=minutes)
        fired = cases.fire(case, at, policy)
        case, events = fired.case, events + fired.events
        timer = case.timer
        assert timer is not None
        line: LedgerEvent | None = None
        if act == "pause" and timer.paused_at is None:
            case, line = adjusted(case, LedgerKind.PAUSED, at, sla.pause(timer, at))
        elif act == "resume" and timer.paused_at is not None:
            case, line = adjusted(case, LedgerKind.RESUMED, at, sla.resume(timer, at, policy, case.item_code))
        elif act == "extend":
            case, line = adjusted(case, LedgerKind.EXTENDED, at, sla.extend(timer, HOUR_MS, policy, case.item_code))
        events += [line] if line else []

    kinds = {LedgerKind.ESCALATED, LedgerKind.REMINDED}
    sent = {event.event_id for event in events if event.kind in kinds and event.told is None}
    assert escalations_due(events, {case.case_id: policy}, {GRID: at}) == sent
