"""The shell around the rules: what it does when they, or the files, are wrong."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from pipelines.agents.case_program import CaseProgram, CaseState
from pipelines.domain import cases
from schemas import codec
from schemas.cases import Command, LedgerKind, Move
from schemas.errors import SetupError
from schemas.topics import CASE_COMMANDS, CASE_EVENTS
from tests.builders import GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, opened


def a_program() -> CaseProgram:
    return CaseProgram(codec.partition_of(GRID, 4), 4, REGISTRY, {POLICY_ID: POLICY}, POLICY_ID)


def test_a_grid_with_cases_cannot_be_taken_out_of_the_district() -> None:
    """The worker stops with the grid's number, instead of losing its cases or dying without a reason."""
    case = opened().case
    elsewhere = replace(case, grid_id="610117999999999")
    key = case.case_id.replace(GRID, elsewhere.grid_id).encode()

    with pytest.raises(SetupError, match=elsewhere.grid_id):
        a_program().load({key: codec.encode(CaseState(case=elsewhere))})


def test_a_command_that_breaks_the_rules_code_has_not_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The escalations that were due before it are still due: the next tick fires them."""
    case = opened().case
    program = a_program()
    program.load({case.case_id.encode(): codec.encode(CaseState(case=case))})
    late = NINE + timedelta(days=1)
    command = Command(command_id="c", case_id=case.case_id, move=Move.ACKNOWLEDGE, by=WORKER, requested_at=late)
    record = SimpleNamespace(offset=0, timestamp=int(late.timestamp() * 1000), value=codec.encode(command), headers=[])
    monkeypatch.setattr(cases, "apply", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        program.take(CASE_COMMANDS.name, record)

    fired = [codec.decode(CASE_EVENTS, o.value) for o in program.tick(late) if o.topic == CASE_EVENTS.name]

    assert LedgerKind.ESCALATED in {event.kind for event in fired}
