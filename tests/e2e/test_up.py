"""`gridwatch up`, as a stranger runs it, with the worker killed in the middle."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.local.journal import read_journal
from infra.settings import Settings
from tests.conftest import ROOT, environment, eventually

RUN_S = 35


def child(parent: int, module: str) -> psutil.Process | None:
    """Return the supervised process that runs *module*."""
    for found in psutil.Process(parent).children():
        if found.is_running() and module in found.cmdline():
            return found
    return None


@pytest.mark.timeout(240)
def test_up_reconciles_though_the_worker_is_killed(settings: Settings, tmp_path: Path) -> None:
    """Everything starts, the worker dies by kill -9 and comes back, and independent readers agree at the end."""
    command = [sys.executable, "-m", "infra.cli", "up", "--seconds", str(RUN_S), "--json"]
    errors = tmp_path / "up.txt"
    with errors.open("wb") as err:
        run = subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, stderr=err, cwd=ROOT)
    try:
        eventually(lambda: "ready" in errors.read_text(), within_s=60, what="the stack is ready")
        worker = child(run.pid, "pipelines")
        assert worker is not None
        journal = settings.data_dir / "journal.jsonl"
        eventually(lambda: sum(1 for _ in read_journal(journal)) > 40, within_s=30, what="people report")
        worker.send_signal(signal.SIGKILL)
        out, _ = run.communicate(timeout=150)
    finally:
        run.terminate()
        run.wait(30)

    said = errors.read_text()
    summary = json.loads(out)
    assert run.returncode == 0, f"{summary}\n{said}"
    assert "worker" in said
    assert "started again" in said
    assert summary["disagreements"] == []
    assert summary["reports_acked"] == summary["reports_in_topic"] > 100
    assert summary["cases_opened"] == summary["cases_in_ledger"] == summary["rows"]["cases"]
    assert summary["cameras_live"] >= 20
    assert summary["camera_events"] > 0
    assert summary["escalations"] == summary["escalations_due"] > 0
    assert summary["dead_letters"] == summary["dead_letters_expected"] == 10
    assert all(lag == 0 for lag in summary["lag"].values())
