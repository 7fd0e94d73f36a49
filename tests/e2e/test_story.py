"""The whole story on the real parts: an RTSP stream and an HTTP report in; ClickHouse, an alert and the page out."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from confluent_kafka import Consumer
from playwright.sync_api import expect, sync_playwright

from infra.clock import monotonic_s, utc_now
from infra.settings import Settings
from schemas import codec
from schemas.topics import ALERTS_SLA
from tests.conftest import ROOT, environment, eventually

GRID, ITEM = "610117001002003", "05001"
QUIET = ("--rate", "0", "--cameras", "8")  # cameras without people: nobody acknowledges


def _hear_ctrl_c() -> None:
    """Hear SIGINT, though whoever started the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def stack(settings: Settings) -> Iterator[Settings]:
    """A running `gridwatch up`; Ctrl-C at the end must stop it cleanly within 15 s."""
    said = settings.data_dir / "up.txt"
    with said.open("wb") as err:
        run = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "up", *QUIET],
            env=environment(settings),
            stderr=err,
            cwd=ROOT,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - the only thread here
        )
    try:
        eventually(lambda: " ready " in said.read_text() or run.poll() is not None, within_s=120, what="ready")
        assert run.poll() is None, said.read_text()
        yield settings
        began = monotonic_s()
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 0, said.read_text()
        assert monotonic_s() - began < 15, said.read_text()
    finally:
        run.kill()
        run.wait()


@pytest.fixture(scope="module")
def case_id(stack: Settings) -> str:
    """A quarrel reported over HTTP, twice under one id."""
    body = {
        "report_id": "story-1",
        "grid_id": GRID,
        "item_code": ITEM,
        "channel": "resident",
        "occurred_at": utc_now().isoformat(),
        "description": "两家在巷口争吵,请打 138 0013 8000 联系",
        "reporter": {"name": "某居民", "phone": "13800138000"},
    }
    answers = [httpx.post(f"{stack.intake_url}/reports", json=body, timeout=15) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    return str(answers[0].json()["case_id"])


def ask(stack: Settings, query: str, **parameters: Any) -> list[Any]:
    """Query as an analyst does, from another process, by the client they know."""
    with closing(
        clickhouse_connect.get_client(
            host=stack.clickhouse_host,
            port=stack.clickhouse_port,
            username=stack.analyst_user,
            password=stack.analyst_password.get_secret_value(),
            database=stack.clickhouse_database,
        )
    ) as client:
        return list(client.query(query, parameters=parameters).result_rows)


@pytest.mark.timeout(240)
def test_a_report_sent_twice_is_one_case_in_clickhouse(stack: Settings, case_id: str) -> None:
    """One row in the view; the phone number of the text is masked."""
    query = "SELECT summary FROM v_cases WHERE case_id = {case:String}"

    rows = eventually(lambda: ask(stack, query, case=case_id), within_s=30, what="the case is in the warehouse")

    assert rows == [("两家在巷口争吵,请打 [电话] 联系",)]


@pytest.mark.timeout(240)
def test_its_escalation_reaches_a_plain_kafka_client(stack: Settings, case_id: str) -> None:
    """A client that knows nothing but the contract reads the alert and its CloudEvents headers."""
    client = Consumer({"bootstrap.servers": stack.kafka, "group.id": "downstream", "auto.offset.reset": "earliest"})
    client.subscribe([ALERTS_SLA.name])
    found: dict[str, dict[str, bytes]] = {}

    def climbed() -> bool:
        message = client.poll(0.5)
        if message is not None and message.error() is None:
            alert = codec.decode(ALERTS_SLA, message.value())
            if alert.case_id == case_id and alert.kind == "sla_escalation":
                found[alert.level] = dict(message.headers() or [])  # type: ignore[arg-type]
        return {"street", "district"} <= found.keys()

    try:
        eventually(climbed, within_s=90, what="two rungs are climbed")
    finally:
        client.close()
    assert found["street"]["ce_type"] == b"gridwatch.alerts.sla.v1"
    assert found["street"]["ce_specversion"] == b"1.0"
    assert found["street"]["ce_id"].decode().startswith(case_id)


@pytest.mark.timeout(240)
def test_a_gathering_before_a_camera_becomes_a_case(stack: Settings) -> None:
    """From RTSP packets to a row: the crowd of the demo's fifth camera opens a case with its camera on it."""
    query = "SELECT camera_id, item_code FROM v_cases WHERE channel = 'camera' AND item_code = '01001'"

    rows = eventually(lambda: ask(stack, query), within_s=90, what="the gathering is a case")

    assert ("cam-dz-005", "01001") in list(rows)  # type: ignore[call-overload]


@pytest.mark.timeout(240)
def test_the_page_shows_it_live(stack: Settings, case_id: str, tmp_path: Path) -> None:
    """In Debian's Chromium: the case stands on the page with its clock, and nothing is asked of the outside."""
    outside: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("request", lambda r: outside.append(r.url) if f":{stack.dashboard_port}/" not in r.url else None)
        page.goto(f"http://{stack.host}:{stack.dashboard_port}/")
        expect(page.locator(f'[data-case="{case_id}"]')).to_be_visible(timeout=60_000)
        page.screenshot(path=str(tmp_path / "page.png"))
        text = page.inner_text("body")
        browser.close()

    assert outside == []
    assert "13800138000" not in text
    assert "某居民" not in text


@pytest.mark.timeout(240)
def test_no_topic_but_the_restricted_one_holds_the_phone_number(stack: Settings, case_id: str) -> None:
    """Search every file of the broker's logs but those of `reporters`, and the warehouse's: not one hit."""
    needles = (b"13800138000", "某居民".encode())
    places = [*(stack.data_dir / "kafka" / "log").rglob("*.log"), *(stack.data_dir / "logs").glob("*.log")]
    hits = [
        str(path)
        for path in places
        if "reporters.v1" not in str(path) and any(needle in path.read_bytes() for needle in needles)
    ]

    assert hits == []
    assert ask(stack, "SELECT count() FROM v_reports WHERE position(description, '13800138000') > 0") == [(0,)]
