"""The cameras of the demo district: who plays which clip, and which one fails when."""

import asyncio
from pathlib import Path

from infra.clock import utc_now
from infra.local.journal import Act, Entry, Journal
from infra.settings import Settings
from producers.simulator.rtsp.clip import Clip, load_clip
from producers.simulator.rtsp.server import Fault, RtspServer
from schemas.grid import Camera
from schemas.registry import Registry

CLIPS = Path(__file__).parent / "clips"
_KINDS = ("quiet", "people", "gather", "night")
_LOST_AFTER_S, _LOST_FOR_S = 25.0, 20.0


def clip_of(number: int) -> str:
    """Return what camera *number* of the district sees: mostly an empty street."""
    if number == 4:
        return "gather"
    return "people" if number % 8 == 1 else "night" if number % 3 == 0 else "quiet"


def load_clips() -> dict[str, Clip]:
    """Return the committed clips by name."""
    return {kind: load_clip(CLIPS / f"{kind}.mp4") for kind in _KINDS}


class Street:
    """The RTSP server with the district's first cameras behind it."""

    def __init__(self, settings: Settings, registry: Registry, journal: Journal, cameras: int) -> None:
        """Load the clips; *cameras* of the district are up, the others are not there."""
        clips, self._journal, self._settings = load_clips(), journal, settings
        self._cameras: list[Camera] = list(registry.cameras.values())[:cameras]
        shown = {camera.id: clips[clip_of(n)] for n, camera in enumerate(self._cameras)}
        self._server = RtspServer(shown, settings.camera_user, settings.camera_password.get_secret_value())

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until *stopping*; one camera is lost for a while and comes back."""
        await self._server.start(self._settings.host, self._settings.rtsp_port)
        lost = self._cameras[len(self._cameras) // 2].id if self._cameras else None
        if lost is not None and await _passes(stopping, _LOST_AFTER_S):
            self._note(lost, "lost")
            self._server.faults[lost] = Fault.REFUSE
            if await _passes(stopping, _LOST_FOR_S):
                del self._server.faults[lost]
                self._note(lost, "back")
        await stopping.wait()
        await self._server.stop()

    def _note(self, camera: str, what: str) -> None:
        self._journal.write(Entry(act=Act.CAMERA_FAULT, at=utc_now(), id=camera, detail=what))


async def _passes(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait *seconds*; tell whether life goes on."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return True
    return False
