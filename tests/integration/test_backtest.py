"""`gridwatch policy backtest` on the ledger topic: a month, and one class's limits halved."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.kafka import Producer
from infra.settings import Settings
from schemas.topics import CASE_EVENTS, CASES
from tests.builders import DISTRICT, GRID
from tests.conftest import ROOT, environment
from tests.months import a_month

LIMITS = "acknowledge = 20000, dispose = 45000, verify = 30000"
HALVED = "acknowledge = 10000, dispose = 22500, verify = 15000"


@pytest.fixture(scope="module")
def month(broker: Settings) -> Settings:
    """A broker whose ledger holds a month of one grid, in part twice."""
    outcomes = a_month(11, 2000).outcomes
    with Producer(broker, "test") as producer:
        for outcome in [*outcomes, *outcomes[:50]]:
            for event in outcome.events:
                producer.send(CASE_EVENTS, key=GRID, ce_id=event.event_id, at=event.at, value=event)
            case = outcome.case
            producer.send(
                CASES, key=case.case_id, ce_id=f"{case.case_id}/{case.version}", at=case.updated_at, value=case
            )
        assert producer.flush(60) == 0
    return broker


def backtest(settings: Settings, file: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    span = ("--from", "2026-03-09T17:00", "--to", "2026-04-08T17:00")
    command = [sys.executable, "-m", "infra.cli", "policy", "backtest", str(file), *span, *more]
    return subprocess.run(
        command,
        env=environment(settings) | {"COLUMNS": "160"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_halved_limit_on_a_month(month: Settings, tmp_path: Path) -> None:
    """The first side is what the ledger recorded; the halved class breaches more; asked again, the same bytes."""
    text = (DISTRICT / "policy.toml").read_text(encoding="utf-8")
    assert LIMITS in text
    file = tmp_path / "halved.toml"
    file.write_text(text.replace(LIMITS, HALVED), encoding="utf-8")

    first, again = backtest(month, file, "--json"), backtest(month, file, "--json")
    table = backtest(month, file)

    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    found = json.loads(first.stdout)
    assert (found["cases"], found["unknown"]) == (2000, 0)
    assert all(line["recorded"] == line["before"] for line in found["lines"])
    items = {line["key"]: line["after"] - line["before"] for line in found["lines"] if line["dimension"] == "item"}
    assert items["01001"] == 0  # of another class
    assert items["01011"] > 0
    assert {"street", "district", "department"} <= {line["key"] for line in found["lines"]}
    assert f"+{items['01011']}" in table.stdout


def test_a_wrong_policy_is_refused_before_anything_is_read(month: Settings, tmp_path: Path) -> None:
    """With line and field, exit code 78."""
    file = tmp_path / "wrong.toml"
    text = (DISTRICT / "policy.toml").read_text(encoding="utf-8")
    file.write_text(text.replace("repeats = 2", "repeats = -2"), encoding="utf-8")

    ended = backtest(month, file)

    assert ended.returncode == 78
    assert "ladder.repeats" in ended.stderr
    assert "line " in ended.stderr
