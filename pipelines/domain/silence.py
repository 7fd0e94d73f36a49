"""Cameras nobody hears of: telemetry silent for too long, by the broker's clock. Pure.

A silence is a gap between two telemetry records of one camera. It is found by a tick
while it lasts, or by the record that ends it; both give the same id, so a replay that
reads the records first raises the same alerts.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraStatus


class Watched(Struct, frozen=True, kw_only=True):
    """What is known of one camera: when it was last heard of, and whether a silence was announced."""

    camera_id: str
    grid_id: str
    heard_at: datetime
    status: CameraStatus
    is_silent: bool = False

    @property
    def is_live(self) -> bool:
        """Tell whether the camera sends pictures and its producer says so."""
        return self.status is CameraStatus.LIVE and not self.is_silent


def hear(known: Watched | None, now: Watched, silent_after: timedelta) -> tuple[Watched, list[Alert]]:
    """Take one telemetry record, appended at `now.heard_at`; end, or report, a silence before it."""
    if known is None:
        return now, []
    alerts = []
    if known.is_silent or now.heard_at - known.heard_at > silent_after:
        if not known.is_silent:
            alerts.append(_alert(known, AlertStatus.FIRING, known.heard_at + silent_after))
        alerts.append(_alert(known, AlertStatus.RESOLVED, now.heard_at))
    return now, alerts


def listen(known: Watched, at: datetime, silent_after: timedelta) -> tuple[Watched, list[Alert]]:
    """Let broker time reach *at*; announce a silence that has become too long."""
    if known.is_silent or at - known.heard_at <= silent_after:
        return known, []
    return replace(known, is_silent=True), [_alert(known, AlertStatus.FIRING, known.heard_at + silent_after)]


def _alert(known: Watched, status: AlertStatus, at: datetime) -> Alert:
    key = f"{known.camera_id}:silent:{known.heard_at:%Y%m%dT%H%M%S.%f}"
    return Alert(
        alert_id=f"{key}:{status}",
        group_key=key,
        status=status,
        kind=AlertKind.CAMERA_SILENT,
        grid_id=known.grid_id,
        at=at,
        camera_id=known.camera_id,
    )
