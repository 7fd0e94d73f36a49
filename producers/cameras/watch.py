"""Watches one camera: keeps a session open, counts what comes, tells events and telemetry."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from infra.clock import monotonic_s, utc_now
from infra.logs import logger
from producers.cameras.domain import activity, liveness
from producers.cameras.domain.activity import Activity, Luma
from producers.cameras.domain.backoff import Backoff
from producers.cameras.domain.depacketize import Depacketizer
from producers.cameras.domain.liveness import Limits, Liveness
from producers.cameras.picture import decode_key_frame
from producers.cameras.rtsp import LoginRefusedError, playing
from schemas.cameras import CameraEvent, CameraEventKind, CameraStatus, CameraTelemetry, Clip, Phase
from schemas.errors import UnavailableError
from schemas.grid import Camera

_REFUSALS = 3  # log-ins refused in a row before a camera is left alone
_LEFT_ALONE_S = 15 * 60.0
_FIRST_PACKET_S = 5.0

log = logger()


class Emit(Protocol):
    """Where a camera's telemetry and events go."""

    def telemetry(self, telemetry: CameraTelemetry) -> None:
        """Take one second of one camera."""

    def event(self, event: CameraEvent) -> None:
        """Take one phase of one event."""


class CameraWatch:
    """One camera and its supervisor."""

    def __init__(
        self,
        camera: Camera,
        *,
        url: str,
        login: tuple[str, str],
        emit: Emit,
        limits: Limits,
        backoff: Backoff,
        jitter: Callable[[], float],
    ) -> None:
        """Begin to watch when `run` is called.

        Args:
            camera: who it is and where it stands.
            url: where it is reached, without credentials.
            login: user and password.
            emit: takes what is seen.
            limits: how long it may say nothing.
            backoff: how soon it is tried again.
            jitter: draws from [0, 1).
        """
        self._camera, self._url, self._login, self._emit = camera, url, login, emit
        self._limits, self._backoff, self._jitter = limits, backoff, jitter
        self._liveness = Liveness(since_s=monotonic_s())
        self._activity = Activity()
        self._last_key: Luma | None = None
        self._outage_at = utc_now()
        self._frames = self._bytes = self._lost = 0
        self.reconnects = 0
        self._told_s = monotonic_s()

    async def run(self) -> None:
        """Keep a session with the camera until cancelled."""
        failures = refusals = 0
        while True:
            before = self._liveness.frame_s
            try:
                await self._watch_session()
            except LoginRefusedError:
                refusals += 1
                self._liveness = replace(self._liveness, is_refused=refusals >= _REFUSALS)
                log.warning("camera_login_refused", camera=self._camera.id, times=refusals)
            except UnavailableError as error:
                log.info("camera_unavailable", camera=self._camera.id, reason=error.detail)
            if self._liveness.frame_s != before:
                failures = refusals = 0
                self._liveness = replace(self._liveness, is_refused=False)
            failures, self.reconnects = failures + 1, self.reconnects + 1
            wait_s = _LEFT_ALONE_S if self._liveness.is_refused else self._backoff.delay_s(failures, self._jitter())
            refusals = 0 if self._liveness.is_refused else refusals
            await asyncio.sleep(wait_s)

    async def _watch_session(self) -> None:
        """Play until the camera stops sending.

        Raises:
            LoginRefusedError: the camera does not know us.
            UnavailableError: it refused, hung, lied or fell silent.
        """
        stream = Depacketizer()
        user, password = self._login
        self._last_key = None
        async with playing(self._url, user, password, lambda packet: self._take(stream, packet)) as session:
            opened_s = kept_s = monotonic_s()
            while True:
                await asyncio.sleep(0.5)
                session.check()
                now_s = monotonic_s()
                heard_s = max(opened_s, self._liveness.frame_s or 0.0)
                if now_s - heard_s > _FIRST_PACKET_S:
                    raise UnavailableError("camera", f"no frame for {_FIRST_PACKET_S:.0f} s")
                if now_s - kept_s > session.keep_alive_s:
                    kept_s = now_s
                    await session.keep_alive()

    def _take(self, stream: Depacketizer, packet: bytes) -> None:
        lost = stream.lost
        unit = stream.push(packet)
        self._lost += stream.lost - lost
        if unit is None:
            return
        self._frames, self._bytes = self._frames + 1, self._bytes + unit.size
        self._liveness = replace(self._liveness, frame_s=monotonic_s())
        if unit.data is not None:
            self._compare(decode_key_frame(unit.data))

    def _compare(self, picture: Luma | None) -> None:
        before, self._last_key = self._last_key, picture
        if picture is None or before is None or before.shape != picture.shape:
            return
        self._look(activity.changed_share(before, picture), utc_now())

    def _look(self, share: float, at: datetime) -> None:
        self._activity, step = activity.look(self._activity, share, at)
        if step is None:
            return
        seen = step.sighting
        duration_ms = int((seen.seen_at - seen.started_at) / timedelta(milliseconds=1))
        self._tell(
            CameraEventKind.ACTIVITY,
            step.phase,
            started_at=seen.started_at,
            at=at,
            score=seen.score,
            clip=Clip(camera_id=self._camera.id, start_at=seen.started_at, duration_ms=duration_ms),
        )

    def second(self, now_s: float, now: datetime) -> None:
        """Tell one second of telemetry, and an outage that opens or ends; called whatever the camera does."""
        self._liveness, opened_s, ended_s = liveness.watch(self._liveness, now_s, self._limits)
        status = liveness.status(self._liveness, now_s, self._limits)
        if opened_s is not None:
            self._outage_at = now - timedelta(seconds=now_s - opened_s)
            self._tell(CameraEventKind.OFFLINE, Phase.OPEN, started_at=self._outage_at, at=now)
        if ended_s is not None:
            self._tell(CameraEventKind.OFFLINE, Phase.END, started_at=self._outage_at, at=now)
        if status is not CameraStatus.LIVE:
            self._look(0.0, now)
        self._emit.telemetry(self._telemetry(status, now_s, now))
        self._frames = self._bytes = 0
        self._told_s = now_s

    def _telemetry(self, status: CameraStatus, now_s: float, now: datetime) -> CameraTelemetry:
        elapsed_s = max(0.001, now_s - self._told_s)
        frame_s = self._liveness.frame_s
        return CameraTelemetry(
            camera_id=self._camera.id,
            grid_id=self._camera.grid_id,
            observed_at=now,
            status=status,
            fps=round(self._frames / elapsed_s, 1),
            bitrate_bps=int(self._bytes * 8 / elapsed_s),
            lost_packets=self._lost,
            reconnects=self.reconnects,
            frame_age_ms=None if frame_s is None else int((now_s - frame_s) * 1000),
        )

    def _tell(
        self,
        kind: CameraEventKind,
        phase: Phase,
        *,
        started_at: datetime,
        at: datetime,
        score: float = 1.0,
        clip: Clip | None = None,
    ) -> None:
        self._emit.event(
            CameraEvent(
                event_id=f"{self._camera.id}:{kind}:{started_at:%Y%m%dT%H%M%S.%f}",
                camera_id=self._camera.id,
                grid_id=self._camera.grid_id,
                kind=kind,
                phase=phase,
                occurred_at=at,
                started_at=started_at,
                score=score,
                clip=clip,
            )
        )
