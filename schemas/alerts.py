"""What downstream systems subscribe to. One id per alert; a subscriber that drops repeated ids sees each once."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from schemas.cases import Clock, Level
from schemas.fields import CameraId, CaseId, GridId, Instant, ItemCode, PersonId, Text


class AlertStatus(StrEnum):
    """Alertmanager's two words."""

    FIRING = "firing"
    RESOLVED = "resolved"


class AlertKind(StrEnum):
    """What the alert says."""

    SLA_WARNING = "sla_warning"
    SLA_BREACH = "sla_breach"
    SLA_ESCALATION = "sla_escalation"
    SLA_SUPERVISION = "sla_supervision"  # 督办
    CAMERA_OFFLINE = "camera_offline"
    CAMERA_SILENT = "camera_silent"  # its producer says nothing
    ACTIVITY = "activity"


class Alert(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of an alert topic. People appear as roster ids only."""

    alert_id: Annotated[str, Meta(max_length=200, description="same as ce_id")]
    group_key: Annotated[str, Meta(max_length=200, description="firing and resolved of one thing share it")]
    status: AlertStatus
    kind: AlertKind
    grid_id: GridId
    at: Annotated[Instant, Meta(description="the instant it became true")]
    case_id: CaseId | None = None
    camera_id: CameraId | None = None
    item_code: ItemCode | None = None
    clock: Clock | None = None
    level: Annotated[Level | None, Meta(description="who is told")] = None
    from_level: Level | None = None
    due_at: Instant | None = None
    repeat: int = 0
    notify: list[PersonId] = []
    detail: Text | None = None
    cameras: Annotated[list[CameraId], Meta(description="of a message about several: each of them")] = []
