"""An explanation as a person and as a program ask for it: broker, worker and intake are real."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

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
    command = [sys.executable, "-m", "infra.cli", "case", "explain", *arguments]
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
