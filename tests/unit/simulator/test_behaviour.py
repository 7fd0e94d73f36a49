"""What the people of the demo district do: seeded, lawful, and not always in time."""

from collections import Counter
from datetime import timedelta
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import cases
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.opening import Opening, open_case
from producers.reports.domain.submission import CommandRequest, Submission, accept, command
from producers.reports.domain.visit import VisitRequest, visit
from producers.simulator.domain import behaviour
from schemas.cases import Case, Closure, Move, Satisfaction, Stage
from schemas.errors import RecordError
from schemas.reports import Channel, Urgency
from tests.builders import NINE, POLICY, POLICY_ID, REGISTRY, a_case, moved, seconds

MANY = 2000


def taken(body: dict[str, object]) -> object:
    """Take *body* as the intake would."""
    submission = msgspec.convert(body, Submission)
    return accept(submission, report_id="r", received_at=NINE, registry=REGISTRY, policy=POLICY)


@given(seed=st.integers(0, 10**6), number=st.integers(1, 10**5))
def test_what_people_report_is_taken(seed: int, number: int) -> None:
    """Workers report from their own grids, residents leave a contact; the intake takes all of it."""
    body = behaviour.draw_report(Random(seed), number, REGISTRY, POLICY, NINE)

    taken(body)

    assert ("reported_by" in body) == (body["channel"] == "worker")
    assert ("reporter" in body) == (body["channel"] == "resident")


@given(seed=st.integers(0, 10**6))
def test_what_people_report_badly_is_not_taken(seed: int) -> None:
    """Every bad body is wrong in shape or about something that does not exist."""
    body = behaviour.draw_bad_body(Random(seed), 1, REGISTRY, POLICY, NINE)

    with pytest.raises((RecordError, msgspec.ValidationError)):
        taken(body)


def test_the_same_seed_is_the_same_district() -> None:
    """Reports and plans depend on the generator alone."""

    def days(seed: int) -> list[object]:
        rng = Random(seed)
        return [behaviour.draw_report(rng, n, REGISTRY, POLICY, NINE) for n in range(50)]

    assert days(7) == days(7)
    assert days(7) != days(8)


@given(seed=st.integers(0, 10**6), grid=st.sampled_from(sorted(REGISTRY.grids)))
def test_every_plan_is_lawful_until_the_case_is_archived(seed: int, grid: str) -> None:
    """The engine's own rules accept each act: who handled a case does not verify it, reworks end."""
    opening = Opening(
        grid_id=grid, item_code="01001", channel=Channel.WORKER, origin_id="r", summary="演示", occurred_at=NINE
    )
    case = open_case(opening, Cause(id="r", at=NINE), POLICY, POLICY_ID, REGISTRY).case

    for step in range(40):
        plan = behaviour.plan(case, Random(f"{seed}:{step}"), REGISTRY, 10.0)
        if plan is None:
            break
        request = msgspec.convert(plan.body("c"), CommandRequest)
        asked = command(request, case_id=case.case_id, command_id="c", requested_at=NINE, registry=REGISTRY)
        outcome = cases.apply(case, asked, Cause(id=f"c{step}", at=NINE + seconds(step)), POLICY, REGISTRY)
        assert isinstance(outcome, Outcome), outcome
        is_new = behaviour.situation(outcome.case) != behaviour.situation(case)
        assert is_new or plan.move is Move.FEEDBACK, "else nobody would act on it"
        case = outcome.case

    assert plan is None
    assert case.stage in {Stage.ARCHIVED, Stage.DISPATCHED}  # done, or neglected


def test_every_move_of_the_workflow_is_seen_in_the_demo() -> None:
    """Returns, arrivals, pauses, extensions, departments, feedback and reopenings, at small rates."""
    seen = Counter[Move]()
    for seed in range(400):
        case = a_case(urgency=Urgency.URGENT)
        for step in range(40):
            plan = behaviour.plan(case, Random(f"{seed}:{step}"), REGISTRY, 10.0)
            if plan is None:
                break
            seen[plan.move] += 1
            more = {"assignee": plan.assignee, "note": plan.note, "extend_ms": plan.extend_ms}
            case = moved(case, plan.move, plan.by, NINE + seconds(step), satisfaction=plan.satisfaction, **more)

    never = set(Move) - seen.keys()
    assert never == {
        Move.ACCEPT,
        Move.CLOSE,
        Move.VOID,
        Move.SUPERVISE,
        Move.REMARK,
    }  # left to whoever plays with the demo
    assert seen[Move.HANDLE] > 10 * seen[Move.PAUSE] > 0


@given(seed=st.integers(0, 10**6), number=st.integers(1, 10**5))
def test_visits_are_taken(seed: int, number: int) -> None:
    """Workers log visits to their own grids."""
    request = msgspec.convert(behaviour.draw_visit(Random(seed), number, REGISTRY, NINE), VisitRequest)

    assert visit(request, visit_id="v", received_at=NINE, registry=REGISTRY).occurred_at == NINE


def test_some_are_neglected_some_late_most_in_time() -> None:
    """Warnings, breaches and the whole ladder need cases that nobody or nobody in time looks after."""
    budget_s = 10.0
    drawn = [behaviour.plan(a_case(), Random(n), REGISTRY, budget_s) for n in range(MANY)]
    plans = [plan for plan in drawn if plan is not None]
    late = [plan for plan in plans if plan.delay_s > budget_s]

    assert 1 - len(plans) / MANY == pytest.approx(behaviour.NEGLECTED, abs=0.03)
    assert len(late) / len(plans) == pytest.approx(behaviour.SLOW, abs=0.03)
    assert min(plan.delay_s for plan in plans) > 0


def test_an_archived_case_is_left_alone() -> None:
    """Nobody does anything about what is done and whose reporter was asked."""
    done = a_case(stage=Stage.ARCHIVED, timer=None, closure=Closure.FIXED, satisfaction=Satisfaction.NEUTRAL)

    assert {behaviour.plan(done, Random(n), REGISTRY, 10.0) for n in range(MANY)} == {None}


def test_nothing_is_reworked_twice() -> None:
    """A second round ends with verification, so that every case ends."""
    timer = moved(moved(a_case(), Move.ACKNOWLEDGE), Move.HANDLE).timer
    case: Case = a_case(stage=Stage.VERIFYING, rework=1, timer=timer)

    plans = [behaviour.plan(case, Random(n), REGISTRY, 10.0) for n in range(MANY)]

    assert {plan.move for plan in plans if plan} == {Move.VERIFY}


def test_a_phone_waits_longer_each_time_and_gives_up() -> None:
    """Pauses grow to 8 s, are spread by the unit, and end within a minute."""
    firsts = [behaviour.retry_pause_s(attempt, 0.0) for attempt in range(5)]

    assert firsts == sorted(firsts, key=lambda pause: pause or 0)
    assert behaviour.retry_pause_s(5, 0.0) is None
    assert sum(behaviour.retry_pause_s(attempt, 0.999) or 0 for attempt in range(5)) < 60
    assert (behaviour.retry_pause_s(0, 0.0) or 0) < (behaviour.retry_pause_s(0, 0.9) or 0) < 2


def test_reports_carry_their_moment() -> None:
    """Ids of two runs differ: a second run's reports are not repeats of the first's."""
    first = behaviour.draw_report(Random(1), 1, REGISTRY, POLICY, NINE)
    second = behaviour.draw_report(Random(1), 1, REGISTRY, POLICY, NINE + timedelta(seconds=1))

    assert first["report_id"] != second["report_id"]
