"""The moves of the whole workflow: what each does, and when it is refused."""

from datetime import datetime

import pytest
from msgspec.structs import replace

from pipelines.domain import cases
from pipelines.domain.alerts import sla_alerts
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.opening import Opening, open_case
from pipelines.domain.refusals import Refusal, substep
from schemas.alerts import AlertKind, AlertStatus
from schemas.cases import (
    REPORTER,
    Case,
    Clock,
    Closure,
    LedgerKind,
    Level,
    Move,
    Satisfaction,
    Stage,
    Substep,
    TaskState,
)
from schemas.grid import Absence
from schemas.registry import Registry
from schemas.reports import Channel, Urgency
from tests.builders import CHECKER, GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, a_case, asked, moved, seconds

CENTRE, DISTRICT, DEPARTMENT, OTHER_DEPARTMENT = "st-001", "dc-01", "dp-01", "dp-02"
LIMITS = POLICY.file.limits
NOTE = "事由"


def decide(case: Case, move: Move, by: str = WORKER, at: datetime = NINE, **more: object) -> Outcome | Refusal:
    return cases.apply(case, asked(case, move, by, **more), Cause(id=f"c-{move}", at=at), POLICY, REGISTRY)


def taken(case: Case, move: Move, by: str = WORKER, at: datetime = NINE, **more: object) -> Outcome:
    outcome = decide(case, move, by, at, **more)
    assert isinstance(outcome, Outcome), outcome
    return outcome


def refused(case: Case, move: Move, by: str = WORKER, **more: object) -> str:
    refusal = decide(case, move, by, **more)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason


def opened_by(reporter: str | None = None, registry: Registry = REGISTRY, **more: object) -> Outcome:
    opening = Opening(
        grid_id=GRID,
        item_code="01001",
        channel=Channel.WORKER,
        origin_id="r-1",
        summary="演示",
        occurred_at=NINE,
        reported_by=reporter,
    )
    return open_case(replace(opening, **more), Cause(id="r-1", at=NINE), POLICY, POLICY_ID, registry)


def working() -> Case:
    return moved(a_case(), Move.ACKNOWLEDGE)


def closed() -> Case:
    return moved(moved(working(), Move.HANDLE), Move.VERIFY, CHECKER)


def test_a_major_issue_of_a_part_time_worker_goes_to_the_full_time_one() -> None:
    """The fast lane skips the part-time worker only for a major item that one of them reported."""
    minor = next(item.code for item in POLICY.items.values() if item.severity == "routine")

    assert opened_by(WORKER).case.assignee == CHECKER
    assert opened_by(WORKER, item_code=minor).case.assignee == WORKER
    assert opened_by(None).case.assignee == WORKER


def test_what_was_settled_on_the_spot_is_still_verified_by_another() -> None:
    """自行处置: two ledger lines, the verification clock, and the settler may not verify."""
    outcome = opened_by(WORKER, settled="已劝离")

    assert [(e.kind, e.note) for e in outcome.events] == [(LedgerKind.OPENED, None), (LedgerKind.HANDLED, "已劝离")]
    assert outcome.case.timer is not None
    assert outcome.case.timer.clock is Clock.VERIFY
    assert refused(outcome.case, Move.VERIFY, WORKER) == "same_person"
    assert taken(outcome.case, Move.VERIFY, CHECKER).case.closure is Closure.FIXED


def test_a_stranger_cannot_settle_a_case() -> None:
    """Who does not serve the grid reports only."""
    assert opened_by("pt-001002001", settled="已劝离").case.stage is Stage.DISPATCHED


def test_who_is_away_has_their_substitute_sent_and_nobody_goes_to_an_empty_post() -> None:
    """With a substitute they go; with none the next role does; with nobody at all the centre must accept."""

    def away(*absent: tuple[str, str | None]) -> Registry:
        until = NINE + seconds(60)
        absences = [Absence(person=p, since=NINE, until=until, substitute=s) for p, s in absent]
        return Registry(replace(REGISTRY.content, absences=absences))

    assert opened_by(registry=away((WORKER, "pt-001001002"))).case.assignee == "pt-001001002"
    assert opened_by(registry=away((WORKER, None))).case.assignee == CHECKER
    nobody = opened_by(registry=away((WORKER, None), (CHECKER, None)))
    assert nobody.case.assignee is None
    assert substep(nobody.case) is Substep.AWAITING_ACCEPTANCE
    assert [(e.clock, e.due_at) for e in nobody.events] == [
        (Clock.ACCEPT, nobody.case.timer and nobody.case.timer.due_at)
    ]
    accepted = moved(nobody.case, Move.ACCEPT, CHECKER)
    assert accepted.timer is not None
    assert accepted.timer.clock is Clock.DISPATCH


def test_an_urgent_case_is_arrived_at_before_it_is_disposed_of() -> None:
    """签收 starts the clock of arrival, 到场 that of disposal; others are disposed of at once."""
    on_the_way = moved(a_case(urgency=Urgency.URGENT), Move.ACKNOWLEDGE)
    there = moved(on_the_way, Move.ARRIVE, at=NINE + seconds(3))

    assert substep(on_the_way) is Substep.EN_ROUTE
    assert there.timer is not None
    assert (there.timer.clock, there.timer.started_at) == (Clock.DISPOSE, NINE + seconds(3))
    assert refused(working(), Move.ARRIVE) == "illegal_move"


def test_a_case_that_is_given_back_too_often_comes_under_supervision() -> None:
    """Each return starts the clock of dispatch; the last allowed one tells the boss, and another is refused."""
    case = a_case()
    for number in range(1, LIMITS.returns + 1):
        outcome = taken(case, Move.RETURN, note=NOTE)
        assert (outcome.case.stage, outcome.case.assignee, outcome.case.returns) == (Stage.REPORTED, None, number)
        assert outcome.events[0].clock is Clock.DISPATCH
        notices = list(sla_alerts(case, outcome, REGISTRY))
        case = moved(outcome.case, Move.DISPATCH, CHECKER, assignee=WORKER)

    assert [(a.kind, a.notify) for a in notices] == [(AlertKind.SLA_SUPERVISION, [CENTRE])]
    assert refused(case, Move.RETURN, note=NOTE) == "limit"


def test_supervision_tells_the_centre_and_moves_nothing() -> None:
    """督办 is a notice: assignee, stage, level and clock stay; it is resolved when the case ends."""
    case = working()
    outcome = taken(case, Move.SUPERVISE, CENTRE, note=NOTE)
    [notice] = sla_alerts(case, outcome, REGISTRY)
    over = taken(moved(outcome.case, Move.HANDLE), Move.VERIFY, CHECKER)
    [resolved] = sla_alerts(moved(outcome.case, Move.HANDLE), over, REGISTRY)

    same = ("stage", "level", "assignee", "timer")
    assert [getattr(outcome.case, field) for field in same] == [getattr(case, field) for field in same]
    assert notice.notify == [WORKER, CENTRE]
    assert (resolved.status, resolved.group_key) == (AlertStatus.RESOLVED, notice.group_key)


def test_a_pause_stops_the_clock_and_ends_by_itself_when_its_time_is_used_up() -> None:
    """No deadline passes while a case is paused; the cap is of the case, and then no other pause is allowed."""
    paused = taken(working(), Move.PAUSE, note="等天气")
    cap = NINE + seconds(LIMITS.pause_ms / 1000)

    before = cases.fire(paused.case, cap - seconds(1), POLICY)
    ended = cases.fire(paused.case, cap, POLICY)

    assert (paused.events[0].due_at, before.events) == (None, [])
    assert [(e.kind, e.at) for e in ended.events] == [(LedgerKind.RESUMED, cap)]
    assert ended.case.paused_ms == LIMITS.pause_ms
    assert refused(ended.case, Move.PAUSE, note=NOTE) == "limit"
    assert refused(paused.case, Move.HANDLE) == "illegal_move"


def test_pauses_add_up_and_move_the_deadline() -> None:
    """What stood still is added to the deadline and to the case's total, kept even by a case that ends paused."""
    case = working()
    assert case.timer is not None
    due_at = case.timer.due_at
    resumed = moved(moved(case, Move.PAUSE, note=NOTE), Move.RESUME, at=NINE + seconds(7))
    void = moved(
        moved(resumed, Move.PAUSE, at=NINE + seconds(8), note=NOTE),
        Move.VOID,
        CHECKER,
        at=NINE + seconds(10),
        note=NOTE,
    )

    assert resumed.timer is not None
    assert (resumed.timer.due_at, resumed.paused_ms) == (due_at + seconds(7), 7000)
    assert (void.paused_ms, void.closure) == (9000, Closure.VOID)


def test_an_extension_is_approved_by_a_centre_and_capped() -> None:
    """Its length and number are the policy's; who has the case cannot grant it."""
    case = working()
    for _ in range(LIMITS.extensions):
        before = case
        outcome = taken(case, Move.EXTEND, CENTRE, note=NOTE, extend_ms=1000)
        case = outcome.case
        assert before.timer is not None
        assert outcome.events[0].due_at == before.timer.due_at + seconds(1)
        assert outcome.events[0].extended_ms == 1000

    assert refused(case, Move.EXTEND, CENTRE, note=NOTE, extend_ms=1000) == "limit"
    assert refused(working(), Move.EXTEND, CENTRE, note=NOTE, extend_ms=LIMITS.extension_ms + 1) == "limit"
    assert refused(working(), Move.EXTEND, CHECKER, note=NOTE, extend_ms=1000) == "role"
    mine = moved(moved(a_case(), Move.DISPATCH, CHECKER, assignee=CENTRE, note=NOTE), Move.ACKNOWLEDGE, CENTRE)
    assert refused(mine, Move.EXTEND, CENTRE, note=NOTE, extend_ms=1000) == "same_person"


def test_departments_do_their_parts_while_the_district_owns_the_case() -> None:
    """The case cannot be handled before every task is done; the first task starts a clock at the district's level."""
    first = taken(working(), Move.ASSIGN, DISTRICT, assignee=DEPARTMENT, note=NOTE)
    both = moved(first.case, Move.ASSIGN, DISTRICT, assignee=OTHER_DEPARTMENT, note=NOTE)
    one = moved(both, Move.COMPLETE, DEPARTMENT)

    assert (first.case.owner, first.case.level, first.case.assignee) == (DISTRICT, Level.DISTRICT, WORKER)
    assert (first.events[0].clock, first.events[0].assignee) == (Clock.DISPOSE, DEPARTMENT)
    assert refused(one, Move.HANDLE) == "illegal_move"
    assert refused(one, Move.COMPLETE, DEPARTMENT) == "no_task"
    assert refused(working(), Move.ASSIGN, CENTRE, assignee=DEPARTMENT, note=NOTE) == "role"
    assert refused(working(), Move.ASSIGN, DISTRICT, assignee=WORKER, note=NOTE) == "assignee"
    done = moved(one, Move.COMPLETE, OTHER_DEPARTMENT)
    assert set(done.tasks.values()) == {TaskState.DONE}
    assert moved(done, Move.HANDLE).stage is Stage.VERIFYING


def test_closed_says_why_and_a_duplicate_names_its_case() -> None:
    """A close without handling is never 'fixed'; nothing is deleted."""
    other = a_case().case_id[:-1] + "a"
    duplicate = taken(a_case(), Move.CLOSE, CHECKER, note=NOTE, closure=Closure.DUPLICATE, duplicate_of=other)

    assert [(e.kind, e.closure, e.related_to) for e in duplicate.events] == [
        (LedgerKind.ARCHIVED, Closure.DUPLICATE, other)
    ]
    assert refused(a_case(), Move.CLOSE, CHECKER, note=NOTE, closure=Closure.FIXED) == "closure"
    assert refused(a_case(), Move.CLOSE, CHECKER, note=NOTE, closure=Closure.DUPLICATE) == "duplicate_of"
    assert (
        refused(a_case(), Move.CLOSE, CHECKER, note=NOTE, closure=Closure.REFERRED, duplicate_of=other)
        == "duplicate_of"
    )


def test_a_reopening_is_a_new_round_that_keeps_the_first_close() -> None:
    """Counts begin again, the rounds are capped, and a void case stays closed."""
    case = moved(closed(), Move.FEEDBACK, CHECKER, satisfaction=Satisfaction.DISSATISFIED)
    again = taken(case, Move.REOPEN, CHECKER, at=NINE + seconds(60), note=NOTE)

    assert (again.case.stage, again.case.round, again.case.first_closed_at) == (Stage.REPORTED, 2, NINE)
    assert (again.case.handler, again.case.satisfaction, again.case.closure) == (None, None, None)
    assert [(e.kind, e.clock, e.closure) for e in again.events] == [
        (LedgerKind.REOPENED, Clock.DISPATCH, Closure.FIXED)
    ]
    twice = moved(again.case, Move.CLOSE, CHECKER, at=NINE + seconds(90), note=NOTE, closure=Closure.NO_ACTION)
    assert (twice.first_closed_at, twice.archived_at) == (NINE, NINE + seconds(90))
    assert refused(replace(case, round=LIMITS.rounds), Move.REOPEN, CHECKER, note=NOTE) == "limit"
    assert refused(moved(a_case(), Move.VOID, CHECKER, note=NOTE), Move.REOPEN, CHECKER, note=NOTE) == "limit"


def test_feedback_is_asked_for_by_another_than_the_handler() -> None:
    """回访 needs an answer, and an independent caller."""
    case = moved(moved(moved(a_case(), Move.ACKNOWLEDGE, CHECKER), Move.HANDLE, CHECKER), Move.VERIFY, "gh-001001")

    assert refused(case, Move.FEEDBACK, CHECKER, satisfaction=Satisfaction.SATISFIED) == "same_person"
    assert refused(case, Move.FEEDBACK, "gh-001001") == "satisfaction"


@pytest.mark.parametrize("move", [Move.RETURN, Move.PAUSE, Move.SUPERVISE, Move.VOID, Move.CLOSE, Move.EXTEND])
def test_what_puts_a_case_off_needs_its_reason(move: Move) -> None:
    """A blank note is no reason."""
    by = {Move.SUPERVISE: CENTRE, Move.EXTEND: CENTRE}.get(move, CHECKER)

    assert refused(working(), move, by, note="  ") == "note"
    assert refused(a_case(), Move.DISPATCH, CHECKER, assignee=WORKER) == "note"


def test_a_department_that_did_a_part_does_not_verify_the_whole() -> None:
    """Who did a task is a handler too, whoever reported the case as handled."""
    assigned = moved(working(), Move.ASSIGN, DISTRICT, assignee=DEPARTMENT, note=NOTE)
    handled = moved(moved(assigned, Move.COMPLETE, DEPARTMENT), Move.HANDLE)

    assert refused(handled, Move.VERIFY, DEPARTMENT) == "same_person"
    assert refused(handled, Move.REWORK, DEPARTMENT) == "same_person"
    assert taken(handled, Move.VERIFY, CHECKER).case.closure is Closure.FIXED


def test_after_rework_a_department_can_be_given_its_part_again() -> None:
    """Only a task that is still open is refused twice; the clock that the rework started runs on."""
    assigned = moved(working(), Move.ASSIGN, DISTRICT, assignee=DEPARTMENT, note=NOTE)
    assert refused(assigned, Move.ASSIGN, DISTRICT, assignee=DEPARTMENT, note=NOTE) == "has_task"
    handled = moved(moved(assigned, Move.COMPLETE, DEPARTMENT), Move.HANDLE)
    reworked = moved(handled, Move.REWORK, CHECKER)

    again = moved(reworked, Move.ASSIGN, DISTRICT, assignee=DEPARTMENT, note=NOTE)

    assert (again.tasks, again.timer) == ({DEPARTMENT: TaskState.OPEN}, reworked.timer)
    assert refused(again, Move.HANDLE) == "illegal_move"


@pytest.mark.parametrize(
    ("move", "more"),
    [
        (Move.FEEDBACK, {"satisfaction": Satisfaction.DISSATISFIED}),
        (Move.REOPEN, {"note": NOTE}),
        (Move.REMARK, {"note": NOTE}),
    ],
)
def test_who_reported_says_how_it_ended_and_may_ask_again(move: Move, more: dict[str, object]) -> None:
    """On no roster, and allowed all the same; nothing else is."""
    case = closed()

    [event] = taken(case, move, REPORTER, **more).events

    assert (event.by, event.satisfaction or event.note) == (REPORTER, *more.values())
    assert refused(working(), Move.HANDLE, REPORTER) == "role"
    assert refused(working(), Move.REOPEN, REPORTER, note=NOTE) == "illegal_move"


def test_a_remark_changes_nothing_but_the_ledger() -> None:
    """补充说明 at any stage, with words; the clock goes on as it was."""
    case = working()

    after = taken(case, Move.REMARK, note=NOTE).case

    assert replace(after, version=case.version, updated_at=case.updated_at) == case
    assert refused(case, Move.REMARK) == "note"
    assert refused(case, Move.REMARK, REPORTER, note=" ") == "note"
