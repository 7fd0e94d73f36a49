"""A private case: whatever happens to it, no topic that others read says what it is about or who spoke."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from pipelines.agents.case_program import CaseProgram
from pipelines.domain import ids
from pipelines.stream.program import Output
from producers.reports.domain import open311_in
from schemas import codec
from schemas.cases import Case, Command, LedgerEvent, LedgerKind, Move
from schemas.reports import Location, Visibility
from schemas.topics import BY_NAME, CASE_COMMANDS, CASE_EVENTS, CASES, REPORTS
from tests.builders import CHECKER, GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, a_report

SECRET = "聚众赌博"
STORY = ((Move.RETURN, WORKER), (Move.DISPATCH, CHECKER), (Move.ACKNOWLEDGE, WORKER), (Move.HANDLE, WORKER))


def a_life(visibility: Visibility) -> list[Output]:
    """Return all that a worker writes about a case that is late at first and then dealt with."""
    program = CaseProgram(codec.partition_of(GRID, 4), 4, REGISTRY, {POLICY_ID: POLICY}, POLICY_ID)
    # Another producer than our intake may leave the text in: the engine holds the line too.
    report = replace(
        a_report("r-1"), description=SECRET, location=Location(lat=34.53, long=109.09), visibility=visibility
    )
    outputs = program.take(REPORTS.name, a_record(report, NINE))
    at = NINE + timedelta(minutes=2)
    outputs += program.tick(at)
    case_id = ids.case_id(GRID, "r-1")
    for number, (move, by) in enumerate(STORY):
        asked = Command(
            command_id=f"c-{number}", case_id=case_id, move=move, by=by, requested_at=at, assignee=WORKER, note=SECRET
        )
        outputs += program.take(CASE_COMMANDS.name, a_record(asked, at, number))
    return outputs + program.settle().outputs


def a_record(value: Any, at: Any, offset: int = 0) -> Any:
    return SimpleNamespace(
        offset=offset, timestamp=int(at.timestamp() * 1000), key=b"", value=codec.encode(value), headers=[]
    )


def values(outputs: list[Output], topic: str) -> list[Any]:
    return [codec.decode(BY_NAME[topic], o.value) for o in outputs if o.topic == topic]


@pytest.mark.parametrize(("visibility", "is_told"), [(Visibility.PUBLIC, True), (Visibility.PRIVATE, False)])
def test_what_a_private_case_is_about_is_on_no_topic_of_the_worker(visibility: Visibility, is_told: bool) -> None:
    """Neither text, nor reasons, nor the place; its deadlines and alerts are as any other's."""
    outputs = a_life(visibility)

    written = b"".join(o.value or b"" for o in outputs).decode()
    [case] = values(outputs, CASES.name)
    lines: list[LedgerEvent] = values(outputs, CASE_EVENTS.name)
    assert (SECRET in written, "34.53" in written) == (is_told, is_told)
    assert [line.by for line in lines if line.kind is LedgerKind.OPENED] == [WORKER if is_told else None]
    assert case.visibility is visibility
    assert any(o.topic.startswith("alerts.") for o in outputs)


def test_the_public_list_leaves_private_cases_out() -> None:
    """Who has the number sees how it stands, without text; nobody else learns that it is there."""
    cases: list[Case] = [
        replace(values(a_life(visibility), CASES.name)[0], case_id=f"{GRID}-{visibility}") for visibility in Visibility
    ]
    public, private = (case.case_id for case in cases)
    every = open311_in.Query(
        ids=frozenset(), codes=frozenset(), statuses=frozenset(), since=NINE, until=NINE + timedelta(days=1), first=0,
        count=9,
    )  # fmt: skip

    assert [case.case_id for case in open311_in.select(cases, every)] == [public]
    assert open311_in.select(cases[1:], replace(every, ids=frozenset({private}))) == cases[1:]
