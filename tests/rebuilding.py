"""Show 3 of the warehouse at any size: sink a load through a kill, rebuild, and compare every view."""

import subprocess
import sys
from contextlib import closing

import msgspec

from infra.clickhouse import Role, connect
from infra.kafka import Producer
from infra.settings import Settings
from tests.conftest import ROOT, environment, eventually
from tests.warehouse import Load, caught_up, empty_views, hashes, running_sink


def command(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `gridwatch warehouse …`."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "warehouse", *arguments],
        env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def check_rebuild(settings: Settings, steps: int, patience_s: float) -> int:
    """Let a sink that is killed once take *steps* of the load in, rebuild while it runs; return how many records.

    Every view must have the same rows before and after.
    """
    with Producer(settings, "test") as producer, closing(connect(settings, Role.WRITER, timeout_s=280)) as client:
        load = Load(producer)
        load.send(steps)
        with running_sink(settings) as child:
            some = "SELECT count() FROM reports"
            eventually(lambda: client.query(some).result_rows[0][0], within_s=30, what="the sink is in the middle")
            child.kill()
            child.wait(10)
        with running_sink(settings):
            caught_up(settings, patience_s)
            before = hashes(client)
            done = command(settings, "rebuild", "--json")
            assert done.returncode == 0, done.stderr
            after = hashes(client)
            rows = {table["table"]: table["rows"] for table in msgspec.json.decode(done.stdout)}
            found = command(settings, "reconcile", "--json")
    assert len(before) > 10
    assert not empty_views(before)
    assert after == before
    assert (rows["reports"], rows["camera_telemetry"], rows["cases"]) == (load.reports, load.seconds, load.cases)
    assert found.returncode == 0, found.stdout
    return load.sent
