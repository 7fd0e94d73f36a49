"""The intake while the broker is away, at its own end, and when it is killed."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

import httpx
import pytest

from infra.kafka import headers, read_to_end
from infra.local.ports import free_port
from infra.settings import Settings
from schemas import codec
from schemas.topics import REPORTS
from tests.conftest import ROOT, eventually, process
from tests.faults.broker import Broker
from tests.integration.test_intake import GRID, a_body, all_sent, is_up


@contextmanager
def running_intake(settings: Settings) -> Iterator[tuple[Popen[bytes], httpx.Client]]:
    """An intake that takes reports."""
    log = settings.data_dir / "intake.out"
    with (
        process("producers.reports", settings, log=log) as child,
        httpx.Client(base_url=settings.intake_url, timeout=20) as client,
    ):

        def ready() -> bool:
            assert child.poll() is None, log.read_text()
            try:
                return client.get("/healthz").status_code == 200
            except httpx.TransportError:
                return False

        eventually(ready, within_s=30, what="the intake takes reports")
        yield child, client


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a broker and an intake of one test's own."""
    return Settings(
        data_dir=tmp_path,
        jars_dir=ROOT / "data" / "jars",
        kafka=f"127.0.0.1:{free_port(2)}",
        intake_port=free_port(),
        spool_reports=300,
    )


def stored(settings: Settings) -> list[str]:
    """Return the ids on `reports`, in order within each partition."""
    return [codec.header(headers(message), "ce_id") or "" for message in read_to_end(settings, REPORTS)]


def report(client: httpx.Client, number: int) -> int:
    return client.post("/reports", json=a_body(report_id=f"r-{number:04}")).status_code


def test_reports_outlive_the_broker_and_the_intake(settings: Settings) -> None:
    """No broker, the intake killed under load: what was answered with 201 is in Kafka afterwards, in order, once.

    What got no answer may be there; nothing is refused; what is sent again is not there twice.
    """
    with Broker(settings) as broker, ExitStack() as stack:
        child, client = stack.enter_context(running_intake(settings))
        assert report(client, 0) == 201
        all_sent(client)
        broker.kill()

        assert [report(client, n) for n in range(1, 50)] == [201] * 49
        assert client.get("/healthz").text.startswith("49 ")
        with ThreadPoolExecutor(4) as pool:
            under_way = [pool.submit(report, client, n) for n in range(100, 200)]
            eventually(lambda: sum(f.done() for f in under_way) > 20, within_s=10, what="some are answered")
            child.kill()
            found = {n: f for n, f in enumerate(under_way, 100)}
        answered = [n for n, f in found.items() if f.exception() is None]
        assert {found[n].result() for n in answered} == {201}

        _, client = stack.enter_context(running_intake(settings))
        assert [report(client, n) for n in (1, answered[0], 50)] == [201] * 3
        began = time.monotonic()
        broker.start()
        eventually(lambda: client.get("/healthz").text.startswith("0 "), within_s=60, what="the spool is drained")
        took_s = time.monotonic() - began
        names = stored(settings)

    print(f"drained {took_s:.1f} s after the broker's start")
    expected = [f"r-{n:04}" for n in range(51)]
    assert [name for name in names if name in expected] == expected
    assert {f"r-{n:04}" for n in answered} <= set(names)
    assert len(names) == len(set(names))


def test_a_full_spool_refuses_honestly(settings: Settings) -> None:
    """300 fit; the 301st gets 503 and when to come back, and is not there later; health says so, then heals."""
    with running_intake(settings) as (_, client):
        assert [report(client, n) for n in range(300)] == [201] * 300
        refused = client.post("/reports", json=a_body(report_id="r-0300"))
        repeat = report(client, 7)
        health = client.get("/healthz").status_code

        assert (refused.status_code, refused.json()["reason"], repeat, health) == (503, "overloaded", 201, 503)
        assert int(refused.headers["retry-after"]) > 0
        with Broker(settings):
            eventually(lambda: client.get("/healthz").text.startswith("0 "), within_s=60, what="the spool is drained")
            assert report(client, 301) == 201
            all_sent(client)
            assert set(stored(settings)) == {f"r-{n:04}" for n in [*range(300), 301]}


def test_without_a_broker_a_command_gets_503(settings: Settings) -> None:
    """503 with Retry-After within 12 s: a command's answer is its lane's, and no disk can give it."""
    with Broker(settings) as broker, running_intake(settings) as (child, client):
        eventually(lambda: is_up(client), within_s=30, what="the intake is ready")
        broker.kill()
        began = time.monotonic()
        body = {"move": "acknowledge", "by": "pt-001001001"}
        refused = client.post(f"/cases/{GRID}-aaaaaaaaaa/commands", json=body)
        took_s = time.monotonic() - began

        assert (refused.status_code, refused.json()["reason"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert took_s < 12
        assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (503, 200)

        broker.start()
        eventually(lambda: is_up(client), within_s=30, what="the intake is ready again")
        assert report(client, 1) == 201
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0
        assert stored(settings) == ["r-0001"]


def test_a_second_intake_on_the_same_spool_says_so(settings: Settings) -> None:
    """Exit 78, and the first goes on."""
    log = settings.data_dir / "second.out"
    with running_intake(settings) as (_, client):
        other = settings.model_copy(update={"intake_port": free_port()})
        with process("producers.reports", other, log=log) as second:
            assert second.wait(20) == 78
        assert "another intake" in log.read_text()
        assert report(client, 1) == 201
