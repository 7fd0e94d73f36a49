"""The people of the simulator against a real intake: every act is written down, none is made up."""

import signal
import time

import httpx

from infra.kafka import headers, read_to_end
from infra.local.journal import Act, Entry, read_journal
from infra.settings import Settings
from schemas import codec
from schemas.topics import REPORTS
from tests.conftest import eventually, process
from tests.integration.test_intake import is_up


def journal(settings: Settings, act: Act) -> list[Entry]:
    return [entry for entry in read_journal(settings.data_dir / "journal.jsonl") if entry.act is act]


def test_the_journal_is_what_happened_through_an_outage_of_the_intake(broker: Settings) -> None:
    """Phones send again under the same id until answered; what was acknowledged is in Kafka; the end is quick."""
    log = broker.data_dir / "intake.out"

    def statuses() -> dict[str, set[int | None]]:
        found: dict[str, set[int | None]] = {}
        for entry in journal(broker, Act.REPORT):
            found.setdefault(entry.id, set()).add(entry.status)
        return found

    with process(
        "producers.simulator", broker, "--seed", "7", "--rate", "30", log=broker.data_dir / "simulator.out"
    ) as people:
        eventually(lambda: any(None in s for s in statuses().values()), within_s=15, what="reports go unanswered")
        with process("producers.reports", broker, log=log), httpx.Client(base_url=broker.intake_url) as client:
            eventually(lambda: is_up(client), within_s=30, what="the intake is healthy")
            eventually(
                lambda: any({None, 201} <= s for s in statuses().values()), within_s=20, what="a repeat is answered"
            )
            eventually(lambda: len(journal(broker, Act.BAD_BODY)) > 4, within_s=20, what="bad bodies are sent")
            eventually(lambda: len(journal(broker, Act.BAD_RECORD)) == 10, within_s=20, what="bad records are sent")
            began = time.monotonic()
            people.send_signal(signal.SIGTERM)
            code = people.wait(10)
            took_s = time.monotonic() - began

    assert (code, took_s < 5) == (0, True)
    acknowledged = {ident for ident, seen in statuses().items() if 201 in seen}
    stored = [codec.header(headers(message), "ce_id") for message in read_to_end(broker, REPORTS)]
    assert acknowledged <= set(stored)
    assert set(stored) - {None} <= statuses().keys()
    assert stored.count(None) == sum(entry.id == REPORTS.name for entry in journal(broker, Act.BAD_RECORD))
    assert all(entry.status in (400, 422) for entry in journal(broker, Act.BAD_BODY) if entry.status is not None)
