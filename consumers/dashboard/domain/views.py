"""What the page shows, as values: the answer of `/api/state`, and what the templates draw.

Language-neutral: names come in Chinese and English, states as the words of their enums.
No summary, no resident's and no worker's name gets here: people are roster ids and roles.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from consumers.dashboard.domain.health import Pace, TimeLag
from schemas.alerts import AlertKind, AlertStatus
from schemas.cases import Clock, Level, Stage
from schemas.grid import Role
from schemas.reports import Urgency


class Names(Struct, frozen=True):
    """One name in both languages."""

    zh: str
    en: str


class Heat(StrEnum):
    """How pressing a case, or the worst open case of a grid, is; calmest first."""

    CLEAR = "clear"  # nothing open
    OPEN = "open"  # open and in time, or nobody's yet
    DUE_SOON = "due_soon"  # warned: the share of the budget that the policy names is used up
    OVERDUE = "overdue"


class Eye(StrEnum):
    """State of one camera (智慧眼) as the page sees it."""

    LIVE = "live"
    STALLED = "stalled"
    OFFLINE = "offline"
    AUTH_FAILED = "auth_failed"
    SILENT = "silent"  # its producer has said nothing for as long as the policy allows
    UNHEARD = "unheard"  # no telemetry yet


class Counts(Struct, frozen=True, kw_only=True):
    """The header strip."""

    open: int
    due_soon: int
    overdue: int
    cameras: int
    cameras_live: int
    pipeline: Pace


class CaseRow(Struct, frozen=True, kw_only=True):
    """One open case."""

    case_id: str
    grid_id: str
    grid: Names
    item: Names
    stage: Stage
    level: Level
    heat: Heat
    urgency: Urgency
    opened_at: datetime
    clock: Clock | None
    started_at: datetime | None
    due_at: datetime | None
    assignee: str | None
    role: Role | None
    breaches: int
    rework: int


class GridRow(Struct, frozen=True, kw_only=True):
    """One grid, on the map and in the list."""

    grid_id: str
    name: Names
    label: Names
    village: Names
    heat: Heat
    open: int
    due_soon: int
    overdue: int
    archived: int
    cameras: int
    cameras_live: int
    oldest_open_at: datetime | None
    points: str
    x: float
    y: float


class CameraTile(Struct, frozen=True, kw_only=True):
    """One camera; *heard_at* is when its producer last spoke, *since* when its state began."""

    camera_id: str
    name: str
    eye: Eye
    fps: int | None
    since: datetime | None
    heard_at: datetime | None


class CameraGroup(Struct, frozen=True, kw_only=True):
    """The cameras of one grid."""

    grid_id: str
    grid: Names
    live: int
    tiles: list[CameraTile]


class ReaderCell(Struct, frozen=True, kw_only=True):
    """How one consumer group keeps up with one topic."""

    group: str
    lag: int
    time_lag: TimeLag
    pace: Pace


class TopicRow(Struct, frozen=True, kw_only=True):
    """Health of one topic; *rates* are the newest ones per second, oldest first."""

    topic: str
    purpose: Names
    rate_per_s: float | None
    rates: list[float]
    readers: list[ReaderCell]
    pace: Pace | None  # the worst of its readers; none for a topic without one


class AlertRow(Struct, frozen=True, kw_only=True):
    """One alert; *subject* is the service item or the camera it is about."""

    alert_id: str
    kind: AlertKind
    status: AlertStatus
    at: datetime
    grid_id: str
    grid: Names
    subject: Names
    case_id: str | None
    level: Level | None
    repeat: int


class View(Struct, frozen=True, kw_only=True):
    """Everything on the page at one instant."""

    now: datetime
    district: Names
    focus: str | None  # the grid that cases, cameras and alerts are narrowed to
    newest_at: datetime | None  # append time of the newest record read
    sampled_at: datetime | None
    lost_since: datetime | None  # the broker has not answered since then
    unreadable: int
    counts: Counts
    cases: list[CaseRow]
    cases_left_off: int
    width: float
    height: float
    grids: list[GridRow]
    topics: list[TopicRow]
    cameras: list[CameraGroup]
    alerts: list[AlertRow]
