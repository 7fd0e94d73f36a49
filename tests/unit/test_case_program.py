"""The shell around the rules: what it does when they, or the files, are wrong."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from pipelines.agents.case_program import CaseProgram, CaseState
from pipelines.domain import cases
from schemas import codec
from schemas.cases import Command, LedgerKind, Move
from schemas.errors import SetupError
from schemas.topics import CASE_COMMANDS, CASE_EVENTS, CASE_RESULTS, CASES
from tests.builders import GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, opened


def a_program() -> CaseProgram:
    return CaseProgram(codec.partition_of(GRID, 4), 4, REGISTRY, {POLICY_ID: POLICY}, POLICY_ID)


def a_command(case_id: str, move: Move, at: datetime, offset: int = 0) -> Any:
    """Return the record of a command by the grid's worker."""
    command = Command(command_id=f"c-{offset}", case_id=case_id, move=move, by=WORKER, requested_at=at)
    value = codec.encode(command)
    return SimpleNamespace(offset=offset, timestamp=int(at.timestamp() * 1000), value=value, headers=[])


def test_a_case_is_written_again_when_it_has_moved_and_not_when_a_move_was_refused() -> None:
    """That the command was read is state; whoever follows cases has seen this version."""
    case = opened().case
    program = a_program()
    program.load({case.case_id.encode(): codec.encode(CaseState(case=case))})

    [refused] = program.take(CASE_COMMANDS.name, a_command(case.case_id, Move.VERIFY, NINE))
    settled = program.settle()
    assert codec.decode(CASE_RESULTS, refused.value).reason is not None
    assert [change.key.decode() for change in settled.changes] == [case.case_id]
    assert [output.topic for output in settled.outputs] == []

    program.take(CASE_COMMANDS.name, a_command(case.case_id, Move.ACKNOWLEDGE, NINE, offset=1))
    assert [output.topic for output in program.settle().outputs] == [CASES.name]


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
    monkeypatch.setattr(cases, "apply", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        program.take(CASE_COMMANDS.name, a_command(case.case_id, Move.ACKNOWLEDGE, late))

    fired = [codec.decode(CASE_EVENTS, o.value) for o in program.tick(late) if o.topic == CASE_EVENTS.name]

    assert LedgerKind.ESCALATED in {event.kind for event in fired}
