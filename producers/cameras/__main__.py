"""`python -m producers.cameras`: watches every camera of the district."""

import asyncio
import random
import signal
import sys
from concurrent.futures import Future
from urllib.parse import urlsplit

import uvloop

from infra import logs
from infra.clock import monotonic_s, utc_now
from infra.kafka import Producer
from infra.settings import Settings
from producers.cameras.domain.backoff import Backoff
from producers.cameras.domain.liveness import Limits
from producers.cameras.watch import CameraWatch
from schemas.cameras import CameraEvent, CameraTelemetry
from schemas.errors import EXIT_SETUP, SetupError, UnavailableError
from schemas.grid import Camera
from schemas.registry import load_registry
from schemas.topics import CAMERA_EVENTS, CAMERA_TELEMETRY

_FLUSH_S = 3.0  # sessions take one second to end: together below the five that a stop may take
_LOOPBACK = {"127.0.0.1", "localhost"}

log = logs.logger()


class KafkaEmit:
    """Sends what cameras show to their topics."""

    def __init__(self, producer: Producer) -> None:
        """Send by *producer*."""
        self._producer = producer

    def telemetry(self, telemetry: CameraTelemetry) -> None:
        """Send one second; one that finds the queue full is left out: the next says more."""
        ident = f"{telemetry.camera_id}/{telemetry.observed_at.isoformat()}"
        try:
            self._producer.send(
                CAMERA_TELEMETRY, key=telemetry.grid_id, ce_id=ident, at=telemetry.observed_at, value=telemetry
            )
        except UnavailableError as error:
            log.warning("telemetry_left_out", camera=telemetry.camera_id, reason=error.detail)

    def event(self, event: CameraEvent) -> None:
        """Send one phase of an event; what the broker never took is logged."""
        ident = f"{event.event_id}:{event.phase}:{event.occurred_at:%H%M%S.%f}"
        try:
            sent = self._producer.send(CAMERA_EVENTS, key=event.grid_id, ce_id=ident, at=event.occurred_at, value=event)
        except UnavailableError as error:
            log.critical("camera_event_lost", reason=str(error))
            return
        sent.add_done_callback(_log_failure)


def _log_failure(sent: "Future[None]") -> None:
    error = sent.exception()
    if error is not None:
        log.critical("camera_event_lost", reason=str(error))


def address(camera: Camera, settings: Settings) -> str:
    """Return where *camera* is reached: as its file says, but on this machine at the simulator's port."""
    parts = urlsplit(camera.url)
    if parts.hostname in _LOOPBACK:
        return parts._replace(netloc=f"{parts.hostname}:{settings.rtsp_port}").geturl()
    return camera.url


async def watch_all(settings: Settings) -> None:
    """Watch every camera until SIGTERM.

    Raises:
        SetupError: a data file of the district is wrong.
    """
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    registry = load_registry(settings.district_dir)
    login = (settings.camera_user, settings.camera_password.get_secret_value())
    producer = Producer(settings, "cameras")
    watches = [
        CameraWatch(
            camera,
            url=address(camera, settings),
            login=login,
            emit=KafkaEmit(producer),
            limits=Limits(),
            backoff=Backoff(longest_s=settings.camera_backoff_s),
            jitter=random.random,
        )
        for camera in registry.cameras.values()
    ]
    sessions = [asyncio.create_task(watch.run()) for watch in watches]
    log.info("cameras_watched", cameras=len(watches))
    try:
        await _tell_every_second(watches, stopping)
    finally:
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        for watch in watches:
            watch.stop(utc_now())
        left = producer.close(_FLUSH_S)
    log.info("cameras_stopped", records_lost=left)


async def _tell_every_second(watches: list[CameraWatch], stopping: asyncio.Event) -> None:
    due_s = monotonic_s()
    while not stopping.is_set():
        now_s, now = monotonic_s(), utc_now()
        for watch in watches:
            watch.second(now_s, now)
        due_s = max(due_s + 1.0, now_s)
        try:
            await asyncio.wait_for(stopping.wait(), max(0.0, due_s - monotonic_s()))
        except TimeoutError:
            continue


def main() -> None:
    """Run until SIGTERM; exit 78 when the set-up is wrong."""
    logs.configure("cameras")
    try:
        uvloop.run(watch_all(Settings()))
    except SetupError as error:
        log.critical("cameras_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)


if __name__ == "__main__":
    main()
