"""A rebuild while the world goes on: killed half-way, run again, with records coming in."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from clickhouse_connect.driver import Client

from consumers.warehouse.rebuild import Unheld, rebuild
from infra.clickhouse import Role, connect
from infra.kafka import Producer
from infra.settings import Settings
from tests.conftest import ROOT, environment, eventually
from tests.rebuilding import command
from tests.warehouse import Load, caught_up, empty_views, hashes, running_sink


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A client whose process dies before its *last*-th exchange of tables."""

    def __init__(self, client: Client, last: int) -> None:
        self._client, self._left = client, last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def command(self, sql: str, *args: Any, **kwargs: Any) -> Any:
        if sql.startswith("EXCHANGE"):
            self._left -= 1
            if self._left < 0:
                raise Killed
        return self._client.command(sql, *args, **kwargs)


@pytest.mark.timeout(280)
def test_killed_rebuilds_are_run_again_while_records_come(stack: Settings) -> None:
    """Killed while it fills, and between two exchanges; the third run ends, and every row is there once."""
    with (
        Producer(stack, "test") as producer,
        closing(connect(stack, Role.WRITER, timeout_s=120)) as client,
        running_sink(stack),
    ):
        load = Load(producer)
        load.send(3_000)
        caught_up(stack)
        _kill_while_it_fills(stack, client)
        with _coming(load):
            with pytest.raises(Killed):
                asyncio.run(rebuild(stack, Mortal(client, 3), Unheld.REFUSE, lambda _: None))  # type: ignore[arg-type]
            done = command(stack, "rebuild", "--json")
        assert done.returncode == 0, done.stderr
        caught_up(stack)

        assert command(stack, "reconcile").returncode == 0
        for view, rows in (("v_reports", load.reports), ("v_cases", load.cases), ("v_case_events", load.lines)):
            assert client.query(f"SELECT count() FROM {view}").result_rows == [(rows,)], view  # noqa: S608
        before = hashes(client, places=False)
        assert command(stack, "rebuild").returncode == 0
        assert hashes(client, places=False) == before
        assert empty_views(before) == set()
        assert client.query("SELECT count() FROM system.tables WHERE endsWith(name, '__rebuilt')").result_rows == [(0,)]


def _kill_while_it_fills(settings: Settings, client: Client) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "warehouse", "rebuild"], env=environment(settings), cwd=ROOT
    )
    filled = "SELECT sum(total_rows) FROM system.tables WHERE endsWith(name, '__rebuilt')"
    eventually(lambda: client.query(filled).result_rows[0][0], within_s=60, what="the new tables have rows")
    run.kill()
    run.wait()


@contextmanager
def _coming(load: Load) -> Iterator[None]:
    """Let the load come in until the block ends."""
    ends = threading.Event()

    def send() -> None:
        while not ends.wait(0.05):
            load.send(20)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
