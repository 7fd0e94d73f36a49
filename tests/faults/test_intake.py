"""R4 at its full size: the broker away for a minute, the intake killed meanwhile, nothing refused, nothing lost."""

import time
from pathlib import Path

import httpx
import pytest

from infra.kafka import headers, read_to_end
from infra.local.ports import free_port
from infra.settings import Settings
from schemas import codec
from schemas.topics import REPORTS
from tests.bench.intake import load
from tests.bench.latency import quantile
from tests.conftest import ROOT, eventually
from tests.faults.broker import Broker
from tests.integration.test_intake_outage import running_intake

pytestmark = pytest.mark.faults
PER_S, BEFORE_S, AFTER_S = 200, 30, 30


def waiting(client: httpx.Client) -> int:
    return int(client.get("/healthz").text.split()[0])


def test_a_minute_without_a_broker(tmp_path: Path) -> None:
    """200 reports a second, the intake killed halfway: all accepted, all there once, drained within a minute.

    How long an answer takes is printed; `gridwatch bench intake` judges it, on a machine with nothing else to do.
    """
    settings = Settings(
        data_dir=tmp_path,
        jars_dir=ROOT / "data" / "jars",
        kafka=f"127.0.0.1:{free_port(2)}",
        intake_port=free_port(),
    )
    with Broker(settings) as broker:
        with running_intake(settings) as (child, _):
            broker.kill()
            first = load(settings.host, settings.intake_port, 0, PER_S * BEFORE_S, PER_S)
            child.kill()
            child.wait()
        with running_intake(settings) as (_, client):
            assert waiting(client) == PER_S * BEFORE_S
            second = load(settings.host, settings.intake_port, PER_S * BEFORE_S, PER_S * AFTER_S, PER_S)
            sent = PER_S * (BEFORE_S + AFTER_S)
            assert waiting(client) == sent
            broker.start()
            began = time.monotonic()
            eventually(lambda: waiting(client) == 0, within_s=60, what="the spool is drained")
            took_s = time.monotonic() - began
        found = [codec.header(headers(message), "ce_id") for message in read_to_end(settings, REPORTS)]

    p99 = [quantile(course.late_ms, 0.99) for course in (first, second)]
    print(f"{sent} reports, drained {took_s:.1f} s after the broker was back, p99 {p99[0]:.1f} and {p99[1]:.1f} ms")
    assert first.refused == second.refused == 0
    assert sorted(found) == sorted(f"b-{n}" for n in range(sent))


@pytest.mark.timeout(900)
def test_two_hundred_thousand_reports_wait_and_none_is_lost(tmp_path: Path) -> None:
    """Filled to the limit without a broker: all accepted, the next refused; drained and counted afterwards."""
    limit = 200_000
    settings = Settings(
        data_dir=tmp_path,
        jars_dir=ROOT / "data" / "jars",
        kafka=f"127.0.0.1:{free_port(2)}",
        intake_port=free_port(),
        spool_reports=limit,
    )
    with Broker(settings) as broker, running_intake(settings) as (_, client):
        broker.kill()
        course = load(settings.host, settings.intake_port, 0, limit, None)
        over = load(settings.host, settings.intake_port, limit, 10, None)
        assert (course.refused, over.refused) == (0, 10)
        broker.start()
        began = time.monotonic()
        eventually(lambda: client.get("/healthz").text.startswith("0 "), within_s=60, what="the spool is drained")
        took_s = time.monotonic() - began
        found = {codec.header(headers(message), "ce_id") for message in read_to_end(settings, REPORTS)}
    print(f"{limit} reports drained {took_s:.1f} s after the broker was back; taken at {limit / course.seconds:,.0f}/s")
    assert found == {f"b-{n}" for n in range(limit)}
