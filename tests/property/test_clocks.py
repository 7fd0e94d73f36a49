"""Every instant of a clock against a walker that counts the minutes: open, not paused, and what was granted."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.domain import sla
from pipelines.domain.calendar import working_time
from schemas.cases import Clock, Level, Timer
from schemas.policy import Policy, Rung, TimeBase
from tests.builders import POLICY, a_case

MINUTE = timedelta(minutes=1)
FRIDAY = datetime(2026, 3, 6, 9, tzinfo=ZoneInfo("Asia/Shanghai"))
CALENDAR = POLICY.calendar
acts = st.lists(
    st.tuples(st.sampled_from(["pause", "resume", "extend"]), st.integers(0, 90).map(lambda m: m * MINUTE)), max_size=8
)


def a_policy(base: TimeBase) -> Policy:
    """Return the demo policy with minutes for its seconds: dispose in 4 h, rungs of 2 h, 2 h and 1 h."""
    item = replace(POLICY.items["01001"], time_base=base)
    classes = [replace(c, budgets_ms=dict.fromkeys(Clock, 240 * 60_000)) for c in POLICY.file.classes]
    rungs = [
        Rung(level=level, budget_ms=m * 60_000)
        for level, m in ((Level.STREET, 120), (Level.DISTRICT, 120), (Level.DEPARTMENT, 60))
    ]
    file = replace(POLICY.file, classes=classes, ladder=replace(POLICY.file.ladder, rungs=rungs))
    return Policy(file=file, items={"01001": item}, groups=POLICY.groups, calendar=CALENDAR)


POLICIES = {base: a_policy(base) for base in TimeBase}
OFFSETS_MIN = [180, 240, 360, 480, 540, 600]  # warning, breach, rungs, repeats


def fired(timer: Timer, until: datetime, policy: Policy) -> tuple[Timer, list[datetime]]:
    """Let what is due by *until* happen, as the case machine does."""
    instants = []
    while timer.next_at is not None and timer.next_at <= until:
        instants.append(timer.next_at)
        timer = sla.advance(timer, policy, "01001")
    return timer, instants


def counts(base: TimeBase, at: datetime) -> bool:
    assert CALENDAR is not None
    return base is TimeBase.NATURAL or working_time(CALENDAR, at, at + MINUTE) == MINUTE


class Walker:
    """Counts minutes and notes when each step is due."""

    def __init__(self, base: TimeBase, at: datetime) -> None:
        self._base, self._at = base, at
        self._counted = 0
        self.granted = 0
        self.is_paused = False
        self.steps: list[datetime] = []

    def walk(self, until: datetime) -> None:
        while self._at < until:
            is_counted = not self.is_paused and counts(self._base, self._at)
            self._counted += is_counted
            self._at += MINUTE
            while is_counted and self._is_step_due():
                self.steps.append(self._at)

    def _is_step_due(self) -> bool:
        done = len(self.steps)
        if done == len(OFFSETS_MIN):
            return False
        return self._counted >= OFFSETS_MIN[done] + self.granted * (1 if done else 0.75)


@settings(max_examples=150, deadline=None)
@given(base=st.sampled_from(TimeBase), plan=acts, start_after=st.integers(0, 600).map(lambda m: m * MINUTE))
def test_steps_come_when_a_walker_has_counted_enough(
    base: TimeBase, plan: list[tuple[str, timedelta]], start_after: timedelta
) -> None:
    """Pauses, resumptions and extensions at any time: the engine's instants are the walker's."""
    policy, at = POLICIES[base], FRIDAY + start_after
    timer, walker = sla.start(a_case(), Clock.DISPOSE, armed=3, at=at, policy=policy), Walker(base, at)
    instants: list[datetime] = []
    for act, wait in [*plan, ("resume", timedelta(0)), ("end", timedelta(days=14))]:
        at += wait
        timer, more = fired(timer, at, policy)
        instants += more
        walker.walk(at)
        if act == "pause" and not walker.is_paused:
            timer, walker.is_paused = sla.pause(timer, at), True
        elif act == "resume":
            timer, walker.is_paused = sla.resume(timer, at, policy, "01001"), False
        elif act == "extend":
            timer = sla.extend(timer, 40 * 60_000, policy, "01001")
            walker.granted += 40

    assert instants == walker.steps
    assert timer.next_at is None


def test_a_pause_outside_office_hours_costs_nothing() -> None:
    """Waiting over the weekend moves no working-time deadline."""
    policy = POLICIES[TimeBase.WORKING]
    timer = sla.start(a_case(), Clock.DISPOSE, armed=3, at=FRIDAY, policy=policy)

    paused = sla.pause(timer, FRIDAY + timedelta(hours=10))
    resumed = sla.resume(paused, FRIDAY + timedelta(days=3), policy, "01001")

    assert resumed.due_at == timer.due_at
    assert resumed.paused_ms == 0
