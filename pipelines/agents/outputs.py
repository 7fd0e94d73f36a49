"""What the case engine writes: each thing under its topic, key and id. Pure."""

from datetime import UTC, datetime
from typing import Final
from zlib import crc32

from pipelines.domain.refusals import Refusal, allowed_moves
from pipelines.stream.program import Output, Record
from schemas import codec, topics
from schemas.alerts import Alert
from schemas.cases import Case, Command, CommandResult, GridState, LedgerEvent, Verdict
from schemas.topics import Topic

_ALERT_TOPICS: Final = {
    "sla": topics.ALERTS_SLA,
    "camera": topics.ALERTS_CAMERA,
    "activity": topics.ALERTS_SAFETY,
}


def appended_at(record: Record) -> datetime:
    """Return when the broker appended *record*."""
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def ledger_line(event: LedgerEvent) -> Output:
    """Return one line of the ledger."""
    return _output(topics.CASE_EVENTS, event.grid_id, event.event_id, event.at, event)


def case_as_it_is(case: Case) -> Output:
    """Return a case for `cases`, which keeps the last of each."""
    return _output(topics.CASES, case.case_id, f"{case.case_id}/{case.version}", case.updated_at, case)


def alert_on_its_topic(alert: Alert) -> Output:
    """Return an alert, on the topic of its kind."""
    topic = _ALERT_TOPICS[alert.kind.partition("_")[0]]
    return _output(topic, alert.grid_id, alert.alert_id, alert.at, alert)


def grid_as_it_is(state: GridState) -> Output:
    """Return a grid for `grid.state`."""
    value = codec.encode(state)
    # By content: a tick that is taken again after a kill may have more records behind it than the first time.
    ce_id = f"{state.grid_id}/{state.as_of.isoformat()}/{crc32(value):08x}"
    return _encoded(topics.GRID_STATE, state.grid_id, ce_id, state.as_of, value)


def answer(command: Command, record: Record, case: Case | None, refusal: Refusal | None) -> Output:
    """Return what became of *command*, which came in *record*."""
    at = appended_at(record)
    result = CommandResult(
        command_id=command.command_id,
        case_id=command.case_id,
        grid_id=command.case_id[:15],
        verdict=Verdict.ACCEPTED if refusal is None else Verdict.REFUSED,
        decided_at=at,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else None,
        stage=case.stage if case else None,
        allowed=allowed_moves(case) if case else [],
    )
    # Of the record, not of the command: a phone may send one command twice, and each is answered.
    return _output(topics.CASE_RESULTS, result.grid_id, f"{command.command_id}/{record.offset}", at, result)


def _output(topic: Topic, key: str, ce_id: str, at: datetime, value: object) -> Output:
    return _encoded(topic, key, ce_id, at, codec.encode(value))


def _encoded(topic: Topic, key: str, ce_id: str, at: datetime, value: bytes) -> Output:
    return Output(topic.name, key.encode(), value, codec.headers(topic, ce_id, at, "worker"))
