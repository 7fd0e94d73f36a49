"""Camera liveness: decide from frame arrivals whether a camera is up. Pure.

A camera is `LIVE` while frames arrive, `STALLED` after `stalled_after_s` without one, `OFFLINE`
after `offline_after_s`. Times are seconds on this producer's monotonic clock; RTP timestamps
are the camera's own and are never compared. An outage opens when a camera has been offline for
the grace, so that blips are nobody's business, and ends with the first frame.
"""

from msgspec import Struct
from msgspec.structs import replace

from schemas.cameras import CameraStatus


class Limits(Struct, frozen=True, kw_only=True):
    """How long a camera may say nothing."""

    stalled_after_s: float = 2.0
    offline_after_s: float = 5.0


class Liveness(Struct, frozen=True, kw_only=True):
    """What is known of one camera's frames."""

    since_s: float  # when it was first watched
    frame_s: float | None = None  # when the last frame came
    is_refused: bool = False  # its log-in was refused
    outage_s: float | None = None  # when the open outage began

    @property
    def quiet_since_s(self) -> float:
        """Return since when there has been no frame."""
        return self.since_s if self.frame_s is None else self.frame_s


def status(known: Liveness, now_s: float, limits: Limits) -> CameraStatus:
    """Return the camera's state at *now_s*."""
    quiet_s = now_s - known.quiet_since_s
    if known.frame_s is not None and quiet_s < limits.stalled_after_s:
        return CameraStatus.LIVE
    if known.is_refused:
        return CameraStatus.AUTH_FAILED
    return CameraStatus.STALLED if quiet_s < limits.offline_after_s else CameraStatus.OFFLINE


def watch(known: Liveness, now_s: float, limits: Limits) -> tuple[Liveness, float | None, float | None]:
    """Return *known* at *now_s*; then the beginning of the outage that opens now, of the one that ends now."""
    is_live = status(known, now_s, limits) is CameraStatus.LIVE
    if known.outage_s is None and not is_live and now_s - known.quiet_since_s >= limits.offline_after_s:
        return replace(known, outage_s=known.quiet_since_s), known.quiet_since_s, None
    if known.outage_s is not None and is_live:
        return replace(known, outage_s=None), None, known.outage_s
    return known, None, None
