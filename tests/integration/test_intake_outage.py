"""The intake while the broker is away, and at its own end."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from infra.kafka import headers, read_to_end
from infra.provision import apply_topics
from infra.settings import Settings
from schemas import codec
from schemas.errors import UnavailableError
from schemas.topics import REPORTS
from tests.conftest import eventually, process
from tests.integration.test_intake import a_body, is_up


@contextmanager
def running_broker(settings: Settings) -> Iterator[None]:
    with process("infra.local.broker", settings, log=settings.data_dir / "broker.out"):

        def ready() -> bool:
            try:
                apply_topics(settings, timeout_s=1)
            except UnavailableError:
                return False
            return True

        eventually(ready, within_s=60, what="the broker takes topics")
        yield


def test_no_broker_means_503_and_nothing_is_forgotten(settings: Settings) -> None:
    """503 with Retry-After within 12 s and an unhealthy intake; after the broker's return the repeat gets 201.

    The acknowledgement of the record that was given up arrives late and must break nothing.
    """
    body = a_body()
    with ExitStack() as stack:
        broker = stack.enter_context(ExitStack())
        broker.enter_context(running_broker(settings))
        intake = stack.enter_context(process("producers.reports", settings, log=settings.data_dir / "intake.out"))
        client = stack.enter_context(httpx.Client(base_url=settings.intake_url, timeout=20))
        eventually(lambda: is_up(client), within_s=30, what="the intake is healthy")

        broker.close()
        began = time.monotonic()
        refused = client.post("/reports", json=body)
        took_s = time.monotonic() - began
        health = client.get("/healthz").status_code

        assert (refused.status_code, refused.json()["reason"], health) == (503, "unavailable", 503)
        assert int(refused.headers["retry-after"]) > 0
        assert took_s < 12

        stack.enter_context(running_broker(settings))
        eventually(lambda: is_up(client), within_s=30, what="the intake is healthy again")
        assert client.post("/reports", json=body).status_code == 201
        assert client.post("/reports", json=a_body()).status_code == 201
        stored = [codec.header(headers(message), "ce_id") for message in read_to_end(settings, REPORTS)]
        assert body["report_id"] in stored

        intake.send_signal(signal.SIGTERM)
        assert intake.wait(5) == 0
