"""What a camera's producer says: telemetry every second, events with open, update and end.

Video never travels here. An event points to it by camera, start and duration.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import CameraId, GridId, Instant, Millis, RecordId, Text


class CameraStatus(StrEnum):
    """State of one camera as its producer sees it."""

    LIVE = "live"
    STALLED = "stalled"  # connected, but no frame for a while
    OFFLINE = "offline"
    AUTH_FAILED = "auth_failed"  # log-in refused three times; tried again after 15 minutes


class CameraEventKind(StrEnum):
    """What an event is about."""

    OFFLINE = "offline"
    ACTIVITY = "activity"  # the picture changes: people, vehicles


class Phase(StrEnum):
    """Where an event stands; all phases of one event share its id."""

    OPEN = "open"
    UPDATE = "update"
    END = "end"


class Clip(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Pointer to recorded video."""

    camera_id: CameraId
    start_at: Instant
    duration_ms: Millis
    url: Annotated[str, Meta(max_length=300)] | None = None


class CameraTelemetry(Struct, frozen=True, kw_only=True):
    """One second of one camera."""

    camera_id: CameraId
    grid_id: GridId
    observed_at: Instant
    status: CameraStatus
    fps: Annotated[float, Meta(ge=0, description="frames of the last second")]
    bitrate_bps: Annotated[int, Meta(ge=0)]
    lost_packets: Annotated[int, Meta(ge=0, description="since the producer started")]
    reconnects: Annotated[int, Meta(ge=0, description="since the producer started")]
    frame_age_ms: Annotated[Millis | None, Meta(description="since the last frame; null before the first")]


class CameraEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something happened in front of, or to, a camera."""

    event_id: RecordId
    camera_id: CameraId
    grid_id: GridId
    kind: CameraEventKind
    phase: Phase
    occurred_at: Annotated[Instant, Meta(description="when this phase happened")]
    started_at: Annotated[Instant, Meta(description="when the event opened")]
    score: Annotated[float, Meta(ge=0, le=1)] = 1.0
    detail: Text | None = None
    clip: Clip | None = None
