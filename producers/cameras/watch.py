"""Watches one camera: keeps a session open, counts what comes, tells events and telemetry."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from infra.clock import monotonic_s, utc_now
from infra.logs import logger
from producers.cameras.domain import activity, liveness
from producers.cameras.domain.activity import Activity, Luma, Step
from producers.cameras.domain.backoff import Backoff, Tries
from producers.cameras.domain.depacketize import Depacketizer
from producers.cameras.domain.liveness import Limits, Liveness
from producers.cameras.picture import decode_key_frame
from producers.cameras.rtsp import LoginRefusedError, playing
from schemas.cameras import CameraEvent, CameraEventKind, CameraStatus, CameraTelemetry, Clip, Phase
from schemas.errors import UnavailableError
from schemas.grid import Camera

_NO_FRAME_S = 5.0  # a session without a frame for so long is given up
_NO_PICTURE_S = 12.0  # the same for one whose frames nobody can decode; key frames come every 1 to 10 s
_LOOK_EVERY_S = 0.9  # some cameras send nothing but key frames: a decode each would cost a core
_STOPPED = "producer stopped"

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
        self._outage_at = utc_now()
        self._tries = Tries()
        self._frames = self._bytes = self._lost = 0
        self.reconnects = 0
        self._told_s = monotonic_s()
        self._is_looking = False
        self._looked_s = 0.0
        self._begin(Depacketizer())

    def _begin(self, stream: Depacketizer) -> None:
        """Forget what belongs to one session."""
        self._stream = stream
        self._parameter_sets = b""
        self._last_key: Luma | None = None
        self._is_seen = False  # its last key frame could be decoded: until then its frames are only bytes
        self._began_s: float | None = None  # of PLAY
        self._heard_s = self._seen_s = 0.0

    async def run(self) -> None:
        """Keep a session with the camera until cancelled."""
        while True:
            await self._attempt()
            self._liveness = replace(self._liveness, is_refused=self._tries.is_refused)
            self.reconnects += 1
            await asyncio.sleep(self._backoff.wait_s(self._tries, self._jitter()))

    async def _attempt(self) -> None:
        self._begin(Depacketizer())
        try:
            await self._watch_session()
        except LoginRefusedError:
            self._tries = self._tries.refuse()
            log.warning("camera_login_refused", camera=self._camera.id, times=self._tries.refusals)
            return
        except UnavailableError as error:
            log.info("camera_unavailable", camera=self._camera.id, reason=error.detail)
        except Exception:  # the outermost loop of a camera: a fault of ours must not end its watch for good
            log.exception("camera_watch_failed", camera=self._camera.id)
        played_s = 0.0 if self._began_s is None else monotonic_s() - self._began_s
        self._tries = self._tries.fail(played_s)

    async def _watch_session(self) -> None:
        """Play until the camera stops sending.

        Raises:
            LoginRefusedError: the camera does not know us.
            UnavailableError: it refused, hung, lied or fell silent.
        """
        user, password = self._login
        async with playing(self._url, user, password, partial(self._take, self._stream)) as session:
            self._began_s = kept_s = monotonic_s()
            self._parameter_sets = session.parameter_sets
            while True:
                await asyncio.sleep(0.5)
                session.check()
                now_s = monotonic_s()
                self._check_frames(self._began_s, now_s)
                if now_s - kept_s > session.keep_alive_s:
                    kept_s = now_s
                    await session.keep_alive()

    def _check_frames(self, began_s: float, now_s: float) -> None:
        if now_s - max(began_s, self._heard_s) > _NO_FRAME_S:
            raise UnavailableError("camera", f"no frame for {_NO_FRAME_S:.0f} s")
        if not self._is_seen and now_s - max(began_s, self._seen_s) > _NO_PICTURE_S:
            raise UnavailableError("camera", f"no frame that can be decoded for {_NO_PICTURE_S:.0f} s")

    def _take(self, stream: Depacketizer, packet: bytes) -> None:
        lost = stream.lost
        unit = stream.push(packet)
        self._lost += stream.lost - lost
        if unit is None:
            return
        now_s = self._heard_s = monotonic_s()
        self._frames, self._bytes = self._frames + 1, self._bytes + unit.size
        if self._is_seen:
            self._liveness = replace(self._liveness, frame_s=now_s)
        if unit.data is not None and not self._is_looking and now_s - self._looked_s >= _LOOK_EVERY_S:
            self._decode(stream, unit.data, now_s)

    def _decode(self, stream: Depacketizer, unit: bytes, now_s: float) -> None:
        """Let a thread decode a key frame: 4K takes 0.1 s, and the other cameras do not wait for it."""
        self._is_looking, self._looked_s = True, now_s
        loop = asyncio.get_running_loop()
        picture = loop.run_in_executor(None, decode_key_frame, self._parameter_sets + unit)
        picture.add_done_callback(partial(self._compare, stream))

    def _compare(self, stream: Depacketizer, decoded: "asyncio.Future[Luma | None]") -> None:
        self._is_looking = False
        if decoded.cancelled() or stream is not self._stream:
            return
        picture = decoded.result()
        self._is_seen = picture is not None
        self._seen_s = monotonic_s() if self._is_seen else self._seen_s
        before, self._last_key = self._last_key, picture
        if picture is not None and before is not None and before.shape == picture.shape:
            self._look(activity.changed_share(before, picture), utc_now())

    def _look(self, share: float, at: datetime) -> None:
        self._activity, step = activity.look(self._activity, share, at)
        if step is not None:
            self._tell_activity(step, at)

    def second(self, now_s: float, now: datetime) -> None:
        """Tell one second of telemetry, and an outage that opens or ends; called whatever the camera does."""
        self._liveness, opened_s, ended_s = liveness.watch(self._liveness, now_s, self._limits)
        status = liveness.status(self._liveness, now_s, self._limits)
        if opened_s is not None:
            self._outage_at = now - timedelta(seconds=now_s - opened_s)
            self._tell_outage(Phase.OPEN, now)
        if ended_s is not None:
            self._tell_outage(Phase.END, now)
        if status is not CameraStatus.LIVE or now_s - self._looked_s > _NO_PICTURE_S:
            self._look(0.0, now)  # what nobody sees has ended
        self._emit.telemetry(self._telemetry(status, now_s, now))
        self._frames = self._bytes = 0
        self._told_s = now_s

    def stop(self, now: datetime) -> None:
        """End the events that are open, once `run` is cancelled: another producer would give them other ids."""
        self._activity, step = activity.stop(self._activity, now)
        if step is not None:
            self._tell_activity(step, now, _STOPPED)
        if self._liveness.outage_s is not None:
            self._liveness = replace(self._liveness, outage_s=None)
            self._tell_outage(Phase.END, now, _STOPPED)

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

    def _tell_activity(self, step: Step, at: datetime, detail: str | None = None) -> None:
        seen = step.sighting
        duration_ms = int((seen.seen_at - seen.started_at) / timedelta(milliseconds=1))
        clip = Clip(camera_id=self._camera.id, start_at=seen.started_at, duration_ms=duration_ms)
        event = self._event(CameraEventKind.ACTIVITY, step.phase, seen.started_at, at)
        self._emit.event(replace(event, score=seen.score, clip=clip, detail=detail))

    def _tell_outage(self, phase: Phase, at: datetime, detail: str | None = None) -> None:
        event = self._event(CameraEventKind.OFFLINE, phase, self._outage_at, at)
        self._emit.event(replace(event, detail=detail))

    def _event(self, kind: CameraEventKind, phase: Phase, started_at: datetime, at: datetime) -> CameraEvent:
        return CameraEvent(
            event_id=f"{self._camera.id}:{kind}:{started_at:%Y%m%dT%H%M%S.%f}",
            camera_id=self._camera.id,
            grid_id=self._camera.grid_id,
            kind=kind,
            phase=phase,
            occurred_at=at,
            started_at=started_at,
        )
