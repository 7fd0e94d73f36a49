"""An explanation as a person and as a program ask for it: broker, worker and intake are real."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from infra.settings import Settings
from schemas.cases import LedgerKind
from schemas.errors import EXIT_SETUP
from schemas.topics import CASE_EVENTS, CASES
from tests.builders import GRID, a_report
from tests.conftest import ROOT, environment, eventually, process
from tests.district import District


@pytest.fixture(scope="module")
def case_id(broker: Settings, district: District) -> Iterator[str]:
    """A case that a running worker opened, beside another of its grid; the intake is up."""
    log = broker.data_dir / "processes.out"
    with process("pipelines", broker, log=log), process("producers.reports", broker, log=log):
        found = district.report(a_report("to-explain"))
        district.report(a_report("another"))
        eventually(lambda: len(district.values(CASES)) >= 2, within_s=60, what="both cases are open")
        eventually(lambda: is_up(broker), within_s=30, what="the intake answers")
        yield found


def is_up(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.intake_url}/healthz").is_success
    except httpx.HTTPError:
        return False


def explain(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return case_command(settings, "explain", *arguments)


def case_command(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "infra.cli", "case", *arguments]
    return subprocess.run(
        command, env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_and_the_url_say_the_same(broker: Settings, district: District, case_id: str) -> None:
    """The deadline of the ledger's own line, from both, and in both languages."""
    dispatched = next(
        e for e in district.values(CASE_EVENTS) if e.case_id == case_id and e.kind is LedgerKind.DISPATCHED
    )
    said, answer = explain(broker, case_id, "--json"), httpx.get(f"{broker.intake_url}/cases/{case_id}/explain")
    told = answer.json()

    assert said.returncode == 0, said.stderr
    assert answer.status_code == 200
    assert told["case_id"] == case_id
    run = told["runs"][0]
    assert datetime.fromisoformat(run["due_at"]) == dispatched.due_at == datetime.fromisoformat(run["recorded_due_at"])
    assert json.loads(said.stdout)["runs"][0]["due_at"] == run["due_at"]
    assert "签收" in explain(broker, case_id).stdout
    assert "Acknowledge" in explain(broker, case_id, "--lang", "en").stdout


@pytest.mark.parametrize(("asked", "status"), [(f"{GRID}-aaaaaaaaaa", 404), ("no-number", 400)])
def test_what_is_no_case_is_refused(broker: Settings, case_id: str, asked: str, status: int) -> None:
    """A number that nobody has, and something that is no number."""
    said = explain(broker, asked)

    assert httpx.get(f"{broker.intake_url}/cases/{asked}/explain").status_code == status
    assert said.returncode == EXIT_SETUP
    assert said.stderr.count("\n") == 1


def test_who_reported_privately_is_shown_to_who_may_read_it(broker: Settings, district: District, case_id: str) -> None:
    """The case is there, without text; what was said is on the restricted topic, and the command finds it."""
    body = {
        "report_id": "to-be-private",
        "grid_id": GRID,
        "item_code": "01001",
        "channel": "resident",
        "occurred_at": "2026-03-09T17:00:00+08:00",
        "description": "某某家中聚众赌博",
        "reporter": {"name": "演示居民"},
        "visibility": "private",
    }
    private = httpx.post(f"{broker.intake_url}/reports", json=body).json()["case_id"]
    eventually(lambda: any(c.case_id == private for c in district.values(CASES)), within_s=30, what="the case is open")

    told = json.loads(case_command(broker, "reporter", private, "--json").stdout)

    assert (told["description"], told["name"]) == (body["description"], "演示居民")
    assert all(body["description"] not in c.summary for c in district.values(CASES))
    assert case_command(broker, "reporter", case_id).returncode == EXIT_SETUP  # a worker's: nobody is on the topic


def test_a_ledger_is_taken_out_whole_and_sealed(
    broker: Settings, district: District, case_id: str, tmp_path: Path
) -> None:
    """JSON lines of one case and CSV of all carry the same seals; a span that holds nothing gives nothing."""
    one = case_command(broker, "export", case_id)
    every = case_command(broker, "export", "--format", "csv", "--output", str(tmp_path / "ledger.csv"))
    none = case_command(broker, "export", "--to", "2020-01-01")

    assert [one.returncode, every.returncode, none.returncode] == [0, 0, 0], one.stderr + every.stderr
    lines = [json.loads(line) for line in one.stdout.splitlines()]
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    assert {line["event_id"] for line in lines} <= {event.event_id for event in district.values(CASE_EVENTS)}
    with (tmp_path / "ledger.csv").open(encoding="utf-8-sig", newline="") as file:
        seals = {row["event_id"]: row["seal"] for row in csv.DictReader(file)}
    assert seals.items() >= {line["event_id"]: line["seal"] for line in lines}.items()
    assert none.stdout == ""
    assert case_command(broker, "export", f"{GRID}-aaaaaaaaaa").returncode == EXIT_SETUP
