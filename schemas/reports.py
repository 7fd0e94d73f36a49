"""What workers and residents report, and the reporter kept apart from it."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import GridId, Instant, ItemCode, Latitude, Longitude, MediaRef, PersonId, RecordId, Text


class Channel(StrEnum):
    """Who a case came from."""

    WORKER = "worker"  # 网格员巡查上报
    RESIDENT = "resident"  # 群众举报
    CAMERA = "camera"  # 智慧眼


class Urgency(StrEnum):
    """How soon somebody must look."""

    NORMAL = "normal"
    URGENT = "urgent"


class Visibility(StrEnum):
    """Who may read what a case is about."""

    PUBLIC = "public"
    PRIVATE = "private"  # 不公开, e.g. of an informant: what was said, where and by whom is on `reporters` alone


class Location(Struct, frozen=True, kw_only=True):
    """A point in WGS-84."""

    lat: Latitude
    long: Longitude


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One report on the `reports` topic. Carries no name and no phone number."""

    report_id: RecordId
    grid_id: GridId
    item_code: ItemCode
    channel: Channel
    occurred_at: Instant
    received_at: Annotated[Instant, Meta(description="when the intake took it")]
    description: Text
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="of what the client sent: same id, same digest")]
    urgency: Urgency = Urgency.NORMAL
    location: Location | None = None
    reported_by: Annotated[PersonId | None, Meta(description="roster id of a worker; null for residents")] = None
    settled: Annotated[Text | None, Meta(description="自行处置: how the worker settled it on the spot")] = None
    media: Annotated[list[MediaRef], Meta(max_length=10, description="references; pictures never travel")] = []
    visibility: Annotated[Visibility, Meta(description="of a private one, the text is empty")] = Visibility.PUBLIC


class Reporter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who sent a report, and of a private one what it says; on its own restricted topic, never in the warehouse."""

    report_id: RecordId
    name: Annotated[str, Meta(max_length=80)] | None = None
    phone: Annotated[str, Meta(max_length=40)] | None = None
    email: Annotated[str, Meta(max_length=120)] | None = None
    reported_by: Annotated[PersonId | None, Meta(description="of a private report: the worker")] = None
    description: Annotated[Text | None, Meta(description="of a private report: what was said")] = None
    location: Annotated[Location | None, Meta(description="of a private report: where")] = None
    media: Annotated[list[MediaRef], Meta(max_length=10, description="of a private report: its pictures")] = []
