"""The article's Sunday, 2020-02-16 at 14:00: a quarrel and a paperwork item reported the same minute."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from infra.case.words import text
from pipelines.domain import cases, sla
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.explain import Reason, State, explain
from schemas.cases import Clock, LedgerEvent, LedgerKind, Move, Timer
from schemas.policy import Policy, SlaClass, TimeBase, policy_hash
from tests.builders import CHECKER, POLICY, REGISTRY, WORKER, asked, opened

QUARREL, PAPERWORK = "05001", "01011"
SUNDAY = datetime(2020, 2, 16, 14, tzinfo=ZoneInfo("Asia/Shanghai"))
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HOUR_MS = 3_600_000


def limits(name: str, acknowledge_h: float, dispose_h: int, verify_h: int) -> SlaClass:
    hours = {Clock.ACKNOWLEDGE: acknowledge_h, Clock.DISPOSE: dispose_h, Clock.VERIFY: verify_h}
    budgets = {clock: int(hours.get(clock, 1) * HOUR_MS) for clock in Clock}
    return SlaClass(name=name, budgets_ms=budgets, warn_share=0.75)


def a_policy() -> Policy:
    """Return the demo policy with limits of hours: urgent by the clock, paperwork in office hours."""
    classes = [limits("urgent", 1 / 6, 2, 24), limits("paperwork", 4, 14, 7)]
    items = {
        QUARREL: replace(POLICY.items[QUARREL], sla="urgent", time_base=TimeBase.NATURAL),
        PAPERWORK: replace(POLICY.items[PAPERWORK], sla="paperwork", time_base=TimeBase.WORKING),
    }
    file = replace(POLICY.file, classes=classes)
    return Policy(file=file, items=items, groups=POLICY.groups, calendar=POLICY.calendar)


LIMITS = a_policy()


class Story:
    """A case and its ledger, move by move."""

    def __init__(self, item_code: str) -> None:
        outcome = opened(at=SUNDAY, item_code=item_code, origin_id=f"sunday-{item_code}", policy=LIMITS)
        self.case, self.events = outcome.case, list(outcome.events)

    def move(self, move: Move, at: datetime, by: str = WORKER) -> None:
        self._take(cases.fire(self.case, at, LIMITS))
        cause = Cause(id=f"c-{len(self.events)}", at=at)
        outcome = cases.apply(self.case, asked(self.case, move, by), cause, LIMITS, REGISTRY)
        assert isinstance(outcome, Outcome), outcome
        self._take(outcome)

    def adjust(self, kind: LedgerKind, at: datetime, timer: Timer) -> None:
        """Write a line that leaves the clock as *timer*."""
        assert self.case.timer is not None
        granted = timer.extended_ms - self.case.timer.extended_ms
        self.case = replace(self.case, version=self.case.version + 1, timer=timer)
        line = replace(self.events[-1], number=self.case.version, event_id=f"n-{self.case.version}", kind=kind, at=at)
        due_at = None if timer.paused_at else timer.due_at
        self.events.append(replace(line, clock=timer.clock, due_at=due_at, extended_ms=granted or None))

    def pause(self, at: datetime) -> None:
        self.adjust(LedgerKind.PAUSED, at, sla.pause(self._timer, at))

    def resume(self, at: datetime) -> None:
        self.adjust(LedgerKind.RESUMED, at, sla.resume(self._timer, at, LIMITS, self.case.item_code))

    def extend(self, at: datetime, by_ms: int) -> None:
        self.adjust(LedgerKind.EXTENDED, at, sla.extend(self._timer, by_ms, LIMITS, self.case.item_code))

    @property
    def _timer(self) -> Timer:
        assert self.case.timer is not None
        return self.case.timer

    def _take(self, outcome: Outcome) -> None:
        self.case = outcome.case
        self.events += outcome.events


def a_quarrel() -> list[LedgerEvent]:
    """Acknowledged in 3 minutes, settled in 41, verified the next morning."""
    story = Story(QUARREL)
    story.move(Move.ACKNOWLEDGE, SUNDAY + 3 * MINUTE + timedelta(seconds=10))
    story.move(Move.HANDLE, SUNDAY + 41 * MINUTE)
    story.move(Move.VERIFY, SUNDAY + 19 * HOUR, by=CHECKER)
    return story.events


def some_paperwork() -> list[LedgerEvent]:
    """Acknowledged on Monday, paused over Tuesday noon, given 3 hours more on Thursday, and late all the same."""
    story = Story(PAPERWORK)
    story.move(Move.ACKNOWLEDGE, SUNDAY + 20 * HOUR + 20 * MINUTE)
    story.pause(SUNDAY + 45 * HOUR)
    story.resume(SUNDAY + 50 * HOUR)
    story.extend(SUNDAY + 68 * HOUR, 3 * HOUR_MS)
    return story.events


STORIES = {"quarrel": a_quarrel(), "paperwork": some_paperwork()}


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("name", STORIES)
def test_an_explanation_reads_as_agreed(name: str, lang: str) -> None:
    """To the second, in both languages; the files beside this test are what people were shown."""
    golden = Path(__file__).with_name(f"{name}.{lang}.txt")

    assert text(explain(STORIES[name], LIMITS, policy_hash(LIMITS)), lang) == golden.read_text(encoding="utf-8")


def test_a_quarrel_on_a_sunday_runs_at_once() -> None:
    """Natural time: one interval a clock, counted from the first second."""
    runs = explain(STORIES["quarrel"], LIMITS, "p").runs

    assert [(run.clock, run.state) for run in runs] == [
        (Clock.ACKNOWLEDGE, State.MET),
        (Clock.DISPOSE, State.MET),
        (Clock.VERIFY, State.MET),
    ]
    assert all(interval.reason is Reason.NATURAL for run in runs for interval in run.intervals)
    assert runs[0].intervals[0].total_ms == 190_000


def test_paperwork_of_a_sunday_begins_on_monday() -> None:
    """Nothing counts before nine on Monday; lunch, nights and the pause do not either."""
    acknowledge, dispose = explain(STORIES["paperwork"], LIMITS, "p").runs

    counted = [interval.since for interval in acknowledge.intervals if interval.counted]
    assert counted == [SUNDAY + 19 * HOUR]
    assert {interval.reason for interval in dispose.intervals if not interval.counted} == {
        Reason.LUNCH,
        Reason.OFF_HOURS,
        Reason.PAUSED,
    }


@pytest.mark.parametrize("name", STORIES)
def test_what_counts_adds_up_to_the_budget(name: str) -> None:
    """At the deadline the total is the budget, to the millisecond, and intervals follow without gap."""
    for run in explain(STORIES[name], LIMITS, "p").runs:
        ends = [interval.until for interval in run.intervals]
        assert [run.started_at, *ends[:-1]] == [interval.since for interval in run.intervals]
        used = {interval.until: interval.total_ms for interval in run.intervals}
        assert run.recorded_due_at == run.due_at
        if run.stopped_at is None:
            assert run.due_at is not None
            assert used[run.due_at] == run.budget_ms


def test_it_says_when_the_ledger_has_another_deadline() -> None:
    """A deadline that does not follow from ledger and policy is shown, not repeated."""
    events = [
        replace(e, due_at=e.due_at + MINUTE) if e.kind is LedgerKind.DISPATCHED and e.due_at else e
        for e in STORIES["quarrel"]
    ]
    found = explain(events, LIMITS, "p")

    assert found.runs[0].due_at == SUNDAY + 10 * MINUTE
    assert found.runs[0].recorded_due_at == SUNDAY + 11 * MINUTE
    assert "2020-02-16 Sun 14:11:00" in text(found, "en")


def test_a_deadline_that_was_missed_shows_what_came_after() -> None:
    """The interval is cut at the deadline; the steps of the ladder are listed."""
    story = Story(QUARREL)
    story.move(Move.ACKNOWLEDGE, SUNDAY + 12 * MINUTE)
    run = explain(story.events, LIMITS, "p").runs[0]

    assert run.state is State.BREACHED
    assert [interval.until for interval in run.intervals] == [SUNDAY + 10 * MINUTE, SUNDAY + 12 * MINUTE]
    assert [step.kind for step in run.steps][:3] == [LedgerKind.WARNED, LedgerKind.BREACHED, LedgerKind.ESCALATED]
    assert "超期之后" in text(explain(story.events, LIMITS, "p"), "zh")


def test_while_paused_there_is_no_deadline() -> None:
    """A clock that stands still has none until it is resumed."""
    story = Story(QUARREL)
    story.pause(SUNDAY + 4 * MINUTE)
    run = explain(story.events, LIMITS, "p").runs[0]

    assert (run.state, run.due_at) == (State.PAUSED, None)
    assert "暂停中,未定" in text(explain(story.events, LIMITS, "p"), "zh")
