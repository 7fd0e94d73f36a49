"""A driver for tests that talk to the engine through Kafka alone, as any client would."""

from datetime import datetime
from typing import Any

from infra.kafka import Producer, headers, read_to_end
from infra.settings import Settings
from pipelines.domain import ids
from schemas import codec
from schemas.cases import Command, Move
from schemas.reports import Report
from schemas.topics import CASE_COMMANDS, REPORTS, Topic


class District:
    """Sends reports and commands, reads what came of them."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self.settings, self.producer = settings, producer

    def report(self, report: Report) -> str:
        """Send *report*; return its case's id."""
        self.producer.send(
            REPORTS, key=report.grid_id, ce_id=report.report_id, at=report.occurred_at, value=report
        ).result(10)
        return ids.case_id(report.grid_id, report.report_id)

    def ask(self, case_id: str, move: Move, by: str, at: datetime, command_id: str) -> None:
        """Send a command."""
        command = Command(command_id=command_id, case_id=case_id, move=move, by=by, requested_at=at)
        self.producer.send(CASE_COMMANDS, key=case_id[:15], ce_id=command_id, at=at, value=command).result(10)

    def values(self, topic: Topic) -> list[Any]:
        """Return every decoded value of *topic*."""
        return [codec.decode(topic, message.value()) for message in read_to_end(self.settings, topic)]

    def by_id(self, topic: Topic) -> dict[str, set[bytes]]:
        """Return the distinct values of *topic* under each `ce_id`: repeats must be byte-equal."""
        found: dict[str, set[bytes]] = {}
        for message in read_to_end(self.settings, topic):
            ident = codec.header(headers(message), "ce_id") or ""
            found.setdefault(ident, set()).add(message.value() or b"")
        return found
