"""A camera's producer against a real RTSP server over sockets, faults included."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.clock import monotonic_s, utc_now
from producers.cameras.domain.backoff import Backoff
from producers.cameras.domain.liveness import Limits
from producers.cameras.watch import CameraWatch
from producers.simulator.rtsp.server import Fault, RtspServer
from producers.simulator.street import load_clips
from schemas.cameras import CameraEvent, CameraEventKind, CameraStatus, CameraTelemetry, Phase
from schemas.grid import Camera
from tests.builders import GRID

SECRET = "geheim/passwort:42@x"
CLIPS = load_clips()


class Seen:
    """Keeps what a camera tells."""

    def __init__(self) -> None:
        self.latest: CameraTelemetry | None = None
        self.events: list[CameraEvent] = []

    def telemetry(self, telemetry: CameraTelemetry) -> None:
        self.latest = telemetry

    def event(self, event: CameraEvent) -> None:
        self.events.append(event)

    @property
    def status(self) -> CameraStatus | None:
        return self.latest.status if self.latest else None


class Watching:
    """Cameras under watch, moved by the test's own second hand."""

    def __init__(self, watches: dict[str, CameraWatch], seen: dict[str, Seen]) -> None:
        self.watches, self.seen = watches, seen

    async def until(self, check: object, within_s: float) -> None:
        """Let the cameras be watched until *check* holds."""
        deadline = monotonic_s() + within_s
        while not check():  # type: ignore[operator]
            assert monotonic_s() < deadline, {name: seen.latest for name, seen in self.seen.items()}
            await asyncio.sleep(0.1)  # the second hand, ten times as fast
            for watch in self.watches.values():
                watch.second(monotonic_s(), utc_now())


@asynccontextmanager
async def watching(
    server: RtspServer, *cameras: str, scheme: str = "rtspt", password: str = SECRET
) -> AsyncIterator[Watching]:
    """Run *server* and watch *cameras* of it."""
    port = await server.start("127.0.0.1", 0)
    seen = {name: Seen() for name in cameras}
    watches = {
        name: CameraWatch(
            Camera(id=name, grid_id=GRID, name=name, url=f"{scheme}://127.0.0.1:{port}/{name}", location=(109.0, 34.5)),
            url=f"{scheme}://127.0.0.1:{port}/{name}",
            login=("viewer", password),
            emit=seen[name],
            limits=Limits(stalled_after_s=1.0, offline_after_s=2.0),
            backoff=Backoff(first_s=0.2, longest_s=1.0),
            jitter=lambda: 0.5,
        )
        for name in cameras
    }
    tasks = [asyncio.create_task(watch.run()) for watch in watches.values()]
    try:
        yield Watching(watches, seen)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()


def a_server(**clips: str) -> RtspServer:
    return RtspServer({name: CLIPS[kind] for name, kind in clips.items()}, "viewer", SECRET)


@pytest.mark.parametrize("scheme", ["rtspt", "rtsp"])
async def test_a_camera_is_live_over_tcp_and_udp(scheme: str) -> None:
    """Frames arrive at the clip's rate, none lost, with Digest and a password full of URL characters."""
    async with watching(a_server(cam="quiet"), "cam", scheme=scheme) as district:
        await district.until(lambda: district.seen["cam"].status is CameraStatus.LIVE, within_s=10)
        told = []
        for _ in range(2):
            await asyncio.sleep(1.0)
            district.watches["cam"].second(monotonic_s(), utc_now())
            told.append(district.seen["cam"].latest)

    assert told[-1] is not None
    assert 9 <= told[-1].fps <= 15
    assert told[-1].lost_packets == 0
    assert told[-1].bitrate_bps > 10_000


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.HANG, Fault.SILENT, Fault.RESET, Fault.GARBAGE])
async def test_a_camera_that_fails_is_offline_and_comes_back_and_troubles_nobody(fault: Fault) -> None:
    """Whatever it does wrong, one outage opens, the other camera stays live, and the outage ends when it is well."""
    server = a_server(bad="quiet", good="quiet")
    async with watching(server, "bad", "good") as district:
        bad, good = district.seen["bad"], district.seen["good"]
        await district.until(lambda: bad.status is good.status is CameraStatus.LIVE, within_s=10)
        server.faults["bad"] = fault
        await district.until(lambda: bad.status is CameraStatus.OFFLINE, within_s=15)
        assert good.status is CameraStatus.LIVE
        del server.faults["bad"]
        await district.until(lambda: any(e.phase is Phase.END for e in bad.events), within_s=20)

    outage = [event for event in bad.events if event.kind is CameraEventKind.OFFLINE]
    assert [event.phase for event in outage] == [Phase.OPEN, Phase.END]
    assert len({event.event_id for event in outage}) == 1
    assert good.events == []


async def test_a_wrong_password_is_tried_three_times_and_never_shown(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """After three refusals the camera is left alone; no log line holds the password."""
    caplog.set_level(logging.DEBUG)
    server = a_server(cam="quiet")
    async with watching(server, "cam", password="wrong-but-secret") as district:
        await district.until(lambda: district.seen["cam"].status is CameraStatus.AUTH_FAILED, within_s=15)
        refused = server.refused_logins["cam"]
        await asyncio.sleep(1.5)  # several of its back-offs

    assert server.refused_logins["cam"] == refused <= 6, "each try is a challenge and a refusal"
    shown = caplog.text + "".join(capsys.readouterr())
    assert "wrong-but-secret" not in shown
    assert SECRET not in shown


async def test_a_gathering_opens_an_activity_event() -> None:
    """A crowd in the picture opens one event with a clip pointer and a score the policy asks for."""
    async with watching(a_server(cam="gather"), "cam") as district:
        seen = district.seen["cam"]
        await district.until(lambda: any(e.score >= 0.6 for e in seen.events), within_s=25)

    events = [event for event in seen.events if event.kind is CameraEventKind.ACTIVITY]
    assert events[0].phase is Phase.OPEN
    assert len({event.event_id for event in events}) == 1
    assert events[0].clip is not None


async def test_thirty_two_cameras_are_live_at_once() -> None:
    """The whole village, in one process."""
    names = [f"cam-{n}" for n in range(32)]
    async with watching(a_server(**dict.fromkeys(names, "quiet")), *names) as district:
        await district.until(lambda: all(s.status is CameraStatus.LIVE for s in district.seen.values()), within_s=20)
