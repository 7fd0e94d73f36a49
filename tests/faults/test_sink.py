"""The sink and its warehouse under load, killed, cut off and left alone: every row once, memory bounded.

Minutes of it; `make test` has the short ones (test_sink, test_rebuild).
"""

import os
import random
import time
from contextlib import ExitStack, closing
from typing import Any

import msgspec
import psutil
import pytest

from infra.clickhouse import Role, connect
from infra.kafka import Producer
from infra.local.ports import free_port
from infra.migrate import migrate_warehouse
from infra.settings import Settings
from infra.show import show
from tests.faults.scenarios import Stack
from tests.rebuilding import check_rebuild, command
from tests.warehouse import Load, caught_up, running_sink, running_warehouse, sink_log

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

KILLS = 10
STEPS_PER_S = 1_000  # 3,300 records
OUTAGE_S = float(os.environ.get("GRIDWATCH_OUTAGE_S", "45"))  # 600 for the whole of it
MAX_GROWTH = 64 << 20


@pytest.fixture
def settings(stack: Stack) -> Settings:
    """Settings of a broker, and of a warehouse that is migrated but does not run."""
    found = stack.settings.model_copy(update={"clickhouse_port": free_port()})
    with running_warehouse(found):
        migrate_warehouse(found)
    return found


class Pair:
    """A sink and its warehouse, each started again when it was killed."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stack = settings, ExitStack()
        self._starts: dict[str, Any] = {"warehouse": running_warehouse, "sink": running_sink}
        self.running = {name: self._start(name) for name in self._starts}

    def _start(self, name: str) -> Any:
        return self._stack.enter_context(self._starts[name](self._settings))

    def kill(self, name: str) -> None:
        """SIGKILL, and a new one at once."""
        self.running[name].kill()
        self.running[name].wait()
        self.running[name] = self._start(name)

    def close(self) -> None:
        """Stop both."""
        self._stack.close()


def test_ten_kills_of_sink_or_warehouse_leave_every_row_once(settings: Settings, seed: int) -> None:
    """Under load, at any moment; the reconciliation table is printed."""
    drawn = random.Random(seed)
    with closing(Pair(settings)) as pair, Producer(settings, "test") as producer:
        load = Load(producer)
        for _ in range(KILLS):
            _paced(load, steps=drawn.randrange(500, 3_000))
            pair.kill(drawn.choice(("sink", "warehouse")))
        _paced(load, steps=1_000)
        caught_up(settings, within_s=120)
        found = command(settings, "reconcile", "--json")
        show(msgspec.json.decode(found.stdout), as_json=False)
        assert found.returncode == 0, found.stderr
        with closing(connect(settings, Role.READER)) as reader:
            for view, rows in (
                ("v_reports", load.reports),
                ("v_camera_telemetry", load.seconds),
                ("v_cases", load.cases),
                ("v_case_events", load.lines),
            ):
                once = f"SELECT count(), uniqExact({'case_id' if view == 'v_cases' else 'ce_id'}) FROM {view}"  # noqa: S608
                assert reader.query(once).result_rows == [(rows, rows)], view
            counted = reader.query("SELECT report, settled FROM v_kpi_district WHERE period = 'all'").result_rows
            assert counted == [(load.lives, load.lives)]


def test_the_memory_of_a_sink_is_flat_while_the_warehouse_is_away(settings: Settings) -> None:
    """Nothing is lost, nobody leaves the group, and it catches up at five times the rate of the input."""
    with ExitStack() as running, Producer(settings, "test") as producer:
        warehouse = ExitStack()
        warehouse.enter_context(running_warehouse(settings))
        sink = psutil.Process(running.enter_context(running_sink(settings)).pid)
        load = Load(producer)
        _paced(load, steps=5_000)  # its buffers have their size by then
        caught_up(settings)
        before = sink.memory_info().rss
        warehouse.close()
        started = time.monotonic()
        greatest = before
        while time.monotonic() - started < OUTAGE_S:
            _paced(load, steps=STEPS_PER_S)
            greatest = max(greatest, sink.memory_info().rss)
        with running_warehouse(settings):
            back = time.monotonic()
            caught_up(settings)
            caught_up_s = time.monotonic() - back
            assert command(settings, "reconcile").returncode == 0
    print(f"RSS {before >> 20} MiB before, {greatest >> 20} at most; caught up in {caught_up_s:.1f} s")
    assert greatest - before <= MAX_GROWTH
    assert sink_log(settings).read_bytes().count(b"sink_assigned") == 1
    assert caught_up_s < OUTAGE_S / 5


def test_a_rebuild_of_a_million_rows_shows_every_view_as_it_was(settings: Settings) -> None:
    """Show 3 at full size."""
    with running_warehouse(settings):
        assert check_rebuild(settings, 330_000, patience_s=280) > 1_000_000


def _paced(load: Load, steps: int) -> None:
    """Send *steps* of the load in tenths of a second, at 1,000 a second."""
    started = time.monotonic()
    for done in range(0, steps, 100):
        load.send(min(100, steps - done))
        while time.monotonic() - started < done / STEPS_PER_S:
            time.sleep(0.005)  # the pace of the load
