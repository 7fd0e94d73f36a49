"""The case state machine."""

import pytest

from pipelines.domain import cases, ids
from pipelines.domain.alerts import sla_alerts
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.refusals import Refusal
from schemas.alerts import AlertKind, AlertStatus
from schemas.cases import Case, LedgerKind, Move, Stage
from tests.builders import CHECKER, GRID, NINE, POLICY, REGISTRY, WORKER, a_case, asked, moved, opened, seconds


def handled() -> Case:
    return moved(moved(a_case(), Move.ACKNOWLEDGE), Move.HANDLE)


def test_a_report_opens_a_case_and_sends_the_grids_own_worker() -> None:
    """Opening leaves two ledger events: opened, and dispatched to the part-time worker of the grid."""
    outcome = opened()

    assert [e.kind for e in outcome.events] == [LedgerKind.OPENED, LedgerKind.DISPATCHED]
    assert [e.number for e in outcome.events] == [1, 2]
    assert outcome.case.assignee == WORKER
    assert outcome.case.stage is Stage.DISPATCHED


def test_a_case_goes_through_the_five_stages() -> None:
    """Acknowledge, handle, verify by another person, archive: the article's workflow."""
    case = moved(handled(), Move.VERIFY, CHECKER)

    assert case.stage is Stage.ARCHIVED
    assert case.timer is None
    assert case.archived_at == NINE


@pytest.mark.parametrize(
    ("case", "move", "by", "reason"),
    [
        (a_case(), Move.HANDLE, WORKER, "illegal_move"),
        (a_case(), Move.VERIFY, CHECKER, "illegal_move"),
        (a_case(stage=Stage.ARCHIVED), Move.ACKNOWLEDGE, WORKER, "illegal_move"),
        (a_case(), Move.ACKNOWLEDGE, "pt-001002001", "not_on_roster"),
        (a_case(), Move.DISPATCH, WORKER, "role"),
        (a_case(), Move.DISPATCH, CHECKER, "assignee"),
        (handled(), Move.VERIFY, WORKER, "same_person"),
    ],
)
def test_a_move_that_is_not_allowed_is_refused_with_its_reason(case: Case, move: Move, by: str, reason: str) -> None:
    """A refusal names the reason and changes nothing."""
    decided = cases.apply(case, asked(case, move, by), Cause(id="c", at=NINE), POLICY, REGISTRY)

    assert isinstance(decided, Refusal)
    assert decided.reason == reason


def test_rework_goes_back_to_handling_and_is_counted() -> None:
    """A failed verification sends the case back with a new clock."""
    case = moved(handled(), Move.REWORK, CHECKER)

    assert (case.stage, case.rework) == (Stage.HANDLING, 1)


def test_ids_follow_from_the_records_alone() -> None:
    """The same record gives the same case id and the same event ids, whenever it is applied."""
    assert opened().events == opened().events
    assert opened().case.case_id == ids.case_id(GRID, "r-1")
    assert ids.case_id(GRID, "r-1") != ids.case_id(GRID, "r-2")


def test_a_breached_clock_is_resolved_once_when_it_stops() -> None:
    """Firing alerts of one clock share a group key; its stop sends one `resolved` under it."""
    before = opened().case
    breached = cases.fire(before, NINE + seconds(9), POLICY)
    firing = list(sla_alerts(before, breached, REGISTRY))
    decided = cases.apply(
        breached.case, asked(before, Move.ACKNOWLEDGE), Cause(id="c", at=NINE + seconds(10)), POLICY, REGISTRY
    )
    assert isinstance(decided, Outcome)

    resolved = list(sla_alerts(breached.case, decided, REGISTRY))

    assert [a.kind for a in firing] == [AlertKind.SLA_WARNING, AlertKind.SLA_BREACH, AlertKind.SLA_ESCALATION]
    assert [a.status for a in resolved] == [AlertStatus.RESOLVED]
    assert {a.group_key for a in [*firing, *resolved]} == {resolved[0].group_key}
    assert firing[2].notify == ["st-001"]
