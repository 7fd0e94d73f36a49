"""The operations page on a real broker, in a real browser: what an operator sees, live."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect, sync_playwright

from infra.clock import monotonic_s, utc_now
from infra.kafka import Producer, consumer
from infra.local.ports import free_port
from infra.settings import Settings
from pipelines.domain import alerts, cases
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.cases import Case, Level, Stage
from schemas.topics import ALERTS_SLA, CAMERA_TELEMETRY, CASES, REPORTS
from tests.builders import GRID, POLICY, REGISTRY, opened
from tests.conftest import eventually, process

CAMERA = "cam-dz-001"  # stands in GRID
MINUTE = timedelta(minutes=1)


class Site:
    """The page's process, and the topics it reads."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self.settings, self.producer = settings, producer
        self.url = f"http://{settings.host}:{settings.dashboard_port}"
        self._sent = 0

    def put(self, case: Case) -> None:
        """Write where a case stands."""
        self._sent += 1
        self.producer.send(
            CASES, key=case.case_id, ce_id=f"{case.case_id}-{self._sent}", at=case.updated_at, value=case
        ).result(10)

    def put_telemetry(self, status: CameraStatus) -> None:
        """Write one second of CAMERA."""
        now = utc_now()
        value = CameraTelemetry(
            camera_id=CAMERA,
            grid_id=GRID,
            observed_at=now,
            status=status,
            fps=12.4,
            bitrate_bps=1,
            lost_packets=0,
            reconnects=0,
            frame_age_ms=1,
        )
        self.producer.send(CAMERA_TELEMETRY, key=GRID, ce_id=now.isoformat(), at=now, value=value).result(10)

    def state(self) -> dict:
        """The view as JSON."""
        return httpx.get(f"{self.url}/api/state").raise_for_status().json()


@contextmanager
def serving(settings: Settings, ready_status: int = 200) -> Iterator[str]:
    """Run the page until the block ends; yield its address once `/healthz` answers as it should."""
    url = f"http://{settings.host}:{settings.dashboard_port}"
    log = settings.data_dir / "page.out"

    def answers(child) -> bool:
        assert child.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/healthz").status_code == ready_status
        except httpx.TransportError:
            return False

    with process("consumers.dashboard", settings, log=log) as child:
        eventually(lambda: answers(child), within_s=30, what=f"/healthz answers {ready_status}")
        yield url


@pytest.fixture(scope="module")
def site(broker: Settings) -> Iterator[Site]:
    """The page on a broker of its own."""
    with serving(broker), Producer(broker, "test") as producer:
        yield Site(broker, producer)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened_page(browser: Browser, url: str, *, width: int = 1440, height: int = 900) -> Iterator[Page]:
    """A window of its own on *url*, live; at the end it has asked nobody else and complained of nothing."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    expect(page.locator("#link")).to_have_class(re.compile("is-live"), timeout=10_000)
    yield page
    context.close()
    origin = url.split("/", 3)[:3]
    assert [address for address in asked if address.split("/", 3)[:3] != origin] == []
    assert complaints == []


def case(origin: str, *, ago: timedelta = timedelta(0), **changes) -> Case:
    """A case of GRID opened *ago*."""
    return replace(opened(at=utc_now() - ago, origin_id=origin).case, **changes)


def test_a_case_appears_climbs_and_leaves_live(site: Site, browser: Browser) -> None:
    """Everything the ladder does reaches an open page by itself, within two seconds of Kafka."""
    late = case("live-1", ago=MINUTE)
    with opened_page(browser, f"{site.url}/?lang=en") as page:
        row = page.locator(f'[data-case="{late.case_id}"]')
        expect(row).to_have_count(0)

        site.put(late)
        expect(row).to_contain_text("Gathering of people", timeout=2000)
        expect(row.locator(".here")).to_have_text("Village")
        expect(row.locator(".count-down")).to_contain_text("late")

        site.put(replace(late, level=Level.DISTRICT, version=9))
        expect(row.locator(".here")).to_have_text("District", timeout=2000)

        site.put(replace(late, stage=Stage.ARCHIVED, timer=None, version=10))
        expect(row).to_have_count(0, timeout=2000)


def test_a_camera_and_an_alert_show_up(site: Site) -> None:
    """Telemetry turns its tile live; an alert is listed once however often it is repeated."""
    warned = cases.fire(case("alert-1", ago=MINUTE), utc_now(), POLICY)
    alert = next(iter(alerts.sla_alerts(case("alert-1", ago=MINUTE), warned, REGISTRY)))

    site.put_telemetry(CameraStatus.LIVE)
    for _ in range(2):
        site.producer.send(ALERTS_SLA, key=GRID, ce_id=alert.alert_id, at=alert.at, value=alert).result(10)

    def shown() -> bool:
        state = site.state()
        tile = state["cameras"][0]["tiles"][0]
        listed = [a["alert_id"] for a in state["alerts"]]
        return (tile["camera_id"], tile["eye"], tile["fps"]) == (CAMERA, "live", 12) and listed == [alert.alert_id]

    eventually(shown, within_s=5, what="the camera is live and the alert is listed")


def test_an_unreadable_record_is_counted_and_stops_nothing(site: Site) -> None:
    """What cannot be decoded is left out, said, and followed by what can."""
    bad, good = case("bad-1", ago=MINUTE), case("good-1", ago=MINUTE)
    site.producer.send_raw(CASES.name, key=bad.case_id.encode(), value=b"{not json", headers=[]).result(10)
    site.put(good)

    def shown() -> bool:
        state = site.state()
        return state["unreadable"] == 1 and good.case_id in [c["case_id"] for c in state["cases"]]

    eventually(shown, within_s=5, what="one unreadable record, and the good one after it")


def test_lag_is_that_of_the_groups_own_commits(site: Site) -> None:
    """What the page says of a reader is what the broker knows: end less commit."""
    for _ in range(5):
        site.producer.send_raw(REPORTS.name, key=GRID.encode(), value=b"{}", headers=[]).result(10)
    reader = consumer(site.settings, "gridwatch-cases")
    reader.subscribe([REPORTS.name])
    taken = eventually(lambda: reader.consume(1, timeout=1.0), within_s=20, what="the reader has a record")
    reader.commit(taken[0], asynchronous=False)

    def lag() -> bool:
        rows = {row["topic"]: row for row in site.state()["topics"]}
        lags = {cell["group"]: cell["lag"] for cell in rows.get(REPORTS.name, {"readers": []})["readers"]}
        return lags == {"gridwatch-cases": 4, "gridwatch-sink": 5}

    eventually(lag, within_s=10, what="one of five is read by the engine, none by the sink")
    reader.close()


def test_a_paused_region_stands_still_and_catches_up(site: Site, browser: Browser) -> None:
    """Pause holds what an operator reads; resume shows the newest state, not the missed ones one by one."""
    held = case("pause-1", ago=MINUTE)
    with opened_page(browser, f"{site.url}/?lang=en") as page:
        button = page.locator('[data-pause="needs"]')
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")

        before = page.locator("#needs .body").inner_text()
        total = int(page.locator(".count b").first.inner_text())
        site.put(held)
        expect(page.locator(".count b").first).to_have_text(str(total + 1), timeout=2000)
        assert page.locator("#needs .body").inner_text() == before

        button.click()
        expect(page.locator(f'[data-case="{held.case_id}"]')).to_be_visible(timeout=1000)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("view", ["map", "list"])
def test_a_phone_never_scrolls_sideways(site: Site, browser: Browser, lang: str, view: str) -> None:
    """375 px are enough for everything, and what one presses is as large as a finger."""
    site.put(case("phone-1", ago=MINUTE))
    with opened_page(browser, f"{site.url}/?lang={lang}", width=375, height=812) as page:
        page.locator(f'button[data-view="{view}"]').click()
        expect(page.locator(f".as-{view}")).to_be_visible()

        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        sizes = page.locator("button:visible, .lang a").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])"
        )
        assert [size for size in sizes if min(size) < 40] == []


def test_the_keyboard_reaches_language_list_and_cases(site: Site, browser: Browser) -> None:
    """Tab alone leads to every switch; Enter and Space work them; focus survives an update."""
    row = case("keys-1", ago=MINUTE)
    site.put(row)
    with opened_page(browser, f"{site.url}/?lang=zh") as page:
        expect(page.locator(f'[data-case="{row.case_id}"]')).to_be_visible(timeout=2000)
        _tab_to(page, ".lang a[lang=en]")
        page.keyboard.press("Enter")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("#link")).to_have_class(re.compile("is-live"))

        _tab_to(page, 'button[data-view="list"]')
        page.keyboard.press("Space")
        expect(page.locator(".as-list")).to_be_visible()
        expect(page.locator(".as-map")).to_be_hidden()

        _tab_to(page, f"#list-{GRID}")
        another = case("keys-2", ago=MINUTE)
        site.put(another)
        expect(page.locator(f'[data-case="{another.case_id}"]')).to_be_visible(timeout=2000)
        assert page.evaluate("document.activeElement.id") == f"list-{GRID}"
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"grid={GRID}"))


def _tab_to(page: Page, selector: str) -> None:
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


def test_the_language_is_remembered(site: Site, browser: Browser) -> None:
    """Chinese unless asked; what was asked for stays."""
    with opened_page(browser, f"{site.url}/") as page:
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        page.locator(".lang a[lang=en]").click()
        page.goto(f"{site.url}/")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("#link")).to_have_class(re.compile("is-live"))


def test_a_stream_begins_with_everything_and_is_never_faster_than_twice_a_second(site: Site) -> None:
    """Sixty changes in three seconds are coalesced; a client that reconnects needs no history."""
    burst = case("burst-1", ago=MINUTE)
    updates: list[dict] = []
    with httpx.stream("GET", f"{site.url}/events?lang=en", timeout=10) as stream:
        lines = stream.iter_lines()
        ends = monotonic_s() + 3
        for line in lines:
            if line.startswith("data: "):
                updates.append(json.loads(line.removeprefix("data: ")))
                for n in range(10):
                    site.put(replace(burst, breaches=n + 10 * len(updates)))
            if monotonic_s() > ends:
                break

    assert set(updates[0]["regions"]) == {"banner", "counts", "map", "needs", "topics", "alerts", "cameras"}
    assert 3 <= len(updates) <= 8
    assert all("alerts" not in update["regions"] for update in updates[1:])


def test_every_answer_forbids_other_origins(site: Site) -> None:
    """The browser itself refuses what we did not ship; unknown grids and languages are refused by us."""
    for path in ("/", "/api/state", "/static/page.js"):
        assert httpx.get(site.url + path).headers["content-security-policy"].startswith("default-src 'self';")
    assert httpx.get(f"{site.url}/?grid=999999999999999").status_code == 404
    assert httpx.get(f"{site.url}/events?grid=x").status_code == 404
    assert httpx.get(f"{site.url}/?lang=xx").status_code == 400


def test_a_page_whose_server_is_gone_says_how_old_it_is(site: Site, browser: Browser) -> None:
    """Open streams do not hold up a stop; what stays on the screen is greyed with its age."""
    own = site.settings.model_copy(update={"dashboard_port": free_port()})
    url = f"http://{own.host}:{own.dashboard_port}"
    context = browser.new_context()
    page = context.new_page()
    with process("consumers.dashboard", own, log=own.data_dir / "page-2.out") as child:
        eventually(lambda: _answers(url), within_s=30, what="the second page is up")
        page.goto(f"{url}/?lang=en")
        expect(page.locator("#link")).to_have_class(re.compile("is-live"))

        child.send_signal(signal.SIGTERM)
        child.wait(3)

    expect(page.locator("body")).to_have_class(re.compile("is-stale"), timeout=10_000)
    expect(page.locator("#link")).to_contain_text("Data stands still")
    context.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_without_a_broker_the_page_says_so(tmp_path: Path) -> None:
    """It serves, is not healthy, and names the fault instead of showing an empty, calm district."""
    nowhere = Settings(data_dir=tmp_path, kafka=f"127.0.0.1:{free_port()}", dashboard_port=free_port())
    with serving(nowhere, ready_status=503) as url:
        eventually(lambda: "没有应答" in httpx.get(url).text, within_s=15, what="the page names the lost broker")
        assert httpx.get(f"{url}/api/state").json()["counts"]["pipeline"] == "unknown"
