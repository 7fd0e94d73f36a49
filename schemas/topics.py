"""The one list of topics: name, key, retention, who writes it, which table it lands in.

Every topic has the same partition count and `message.timestamp.type=LogAppendTime`
(the broker is the one clock). Records of a grid share a partition on every topic:
keys are hashed by Kafka's murmur2, and the few topics keyed otherwise are written
to the grid's partition explicitly.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from schemas.alerts import Alert
from schemas.cameras import CameraEvent, CameraTelemetry
from schemas.cases import Case, Command, CommandResult, GridState, LedgerEvent, Tick
from schemas.reports import Report, Reporter
from schemas.silences import Silence
from schemas.visits import Visit

DAY_MS = 24 * 3600 * 1000
KEEP_FOR_EVER = -1


class Cleanup(StrEnum):
    """Kafka's `cleanup.policy`."""

    DELETE = "delete"
    COMPACT = "compact"


class Topic(Struct, frozen=True, kw_only=True, eq=False):
    """One topic of the contract."""

    name: str
    kind: Any  # the struct its values decode to; None = raw bytes, or told by the key (`schemas.reference`)
    key: str
    writer: str
    zh: str
    en: str
    cleanup: Cleanup = Cleanup.DELETE
    retention_ms: int = KEEP_FOR_EVER
    table: str | None = None
    restricted: bool = False  # holds personal data or raw input: its own ACL

    @property
    def ce_type(self) -> str:
        """Return the CloudEvents type of its records, e.g. `gridwatch.case.events.v1`."""
        return f"gridwatch.{self.name}"


REPORTS = Topic(
    name="reports.v1", kind=Report, key="grid_id", writer="intake", retention_ms=90 * DAY_MS, table="reports",
    zh="网格员与群众上报", en="reports of workers and residents",
)  # fmt: skip
VISITS = Topic(
    name="visits.v1", kind=Visit, key="grid_id", writer="intake", retention_ms=90 * DAY_MS, table="visits",
    zh="入户走访与政策宣传", en="home visits and publicity rounds",
)  # fmt: skip
CASE_COMMANDS = Topic(
    name="case.commands.v1", kind=Command, key="grid_id", writer="intake", retention_ms=90 * DAY_MS,
    table="case_commands", zh="案件操作请求", en="requests to move a case",
)  # fmt: skip
CAMERA_EVENTS = Topic(
    name="camera.events.v1", kind=CameraEvent, key="grid_id", writer="cameras", retention_ms=90 * DAY_MS,
    table="camera_events", zh="智慧眼事件", en="camera events: open, update, end",
)  # fmt: skip
CAMERA_TELEMETRY = Topic(
    name="camera.telemetry.v1", kind=CameraTelemetry, key="grid_id", writer="cameras", retention_ms=7 * DAY_MS,
    table="camera_telemetry", zh="智慧眼每秒状态", en="one record a camera and second",
)  # fmt: skip
SILENCES = Topic(
    name="silences.v1", kind=Silence, key="grid_id", writer="gridwatch silence", retention_ms=90 * DAY_MS,
    zh="告警静默、检修", en="what keeps alerts quiet: maintenance, a street without power",
)  # fmt: skip
CLOCK_TICKS = Topic(
    name="clock.ticks.v1", kind=Tick, key="none; explicit partition", writer="worker", retention_ms=90 * DAY_MS,
    zh="时钟节拍", en="time as data, one a partition and second",
)  # fmt: skip
CASE_EVENTS = Topic(
    name="case.events.v1", kind=LedgerEvent, key="grid_id", writer="worker", table="case_events",
    zh="案件台账", en="the ledger: append-only, kept for ever",
)  # fmt: skip
CASE_RESULTS = Topic(
    name="case.results.v1", kind=CommandResult, key="grid_id", writer="worker", retention_ms=7 * DAY_MS,
    table="case_results", zh="操作结果", en="accepted, or refused with reason and allowed moves",
)  # fmt: skip
CASES = Topic(
    name="cases.v1", kind=Case, key="case_id, in its grid's partition", writer="worker", cleanup=Cleanup.COMPACT,
    table="cases", zh="案件现状", en="where each case stands",
)  # fmt: skip
GRID_STATE = Topic(
    name="grid.state.v1", kind=GridState, key="grid_id", writer="worker", cleanup=Cleanup.COMPACT, table="grid_state",
    zh="网格实时情况", en="each grid now",
)  # fmt: skip
ALERTS_SLA = Topic(
    name="alerts.sla.v1", kind=Alert, key="grid_id", writer="worker", retention_ms=30 * DAY_MS, table="alerts",
    zh="时限告警:预警、超期、升级", en="warnings, breaches, escalations",
)  # fmt: skip
ALERTS_CAMERA = Topic(
    name="alerts.camera.v1", kind=Alert, key="grid_id", writer="worker", retention_ms=30 * DAY_MS, table="alerts",
    zh="智慧眼离线告警", en="cameras lost and back",
)  # fmt: skip
ALERTS_SAFETY = Topic(
    name="alerts.safety.v1", kind=Alert, key="grid_id", writer="worker", retention_ms=30 * DAY_MS, table="alerts",
    zh="安全告警:人员活动、聚集", en="activity and gatherings",
)  # fmt: skip
REPORTERS = Topic(
    name="reporters.v1", kind=Reporter, key="report_id", writer="intake", cleanup=Cleanup.COMPACT, restricted=True,
    zh="上报人姓名电话(限权)", en="names and phones of reporters (restricted)",
)  # fmt: skip
REFERENCE = Topic(
    name="reference.v1", kind=None, key="policy:hash, registry:hash, edition", writer="gridwatch publish",
    cleanup=Cleanup.COMPACT, zh="政策与名册版本", en="policies and registries by content hash, and which are in force",
)  # fmt: skip
DEAD_LETTERS = Topic(
    name="dead.letters.v1", kind=None, key="original key", writer="every process", retention_ms=30 * DAY_MS,
    table="dead_letters", restricted=True, zh="无法处理的记录(限权)", en="records nobody could process (restricted)",
)  # fmt: skip
STATE_CHANGELOG = Topic(
    name="gridwatch-cases-state-changelog", kind=None, key="state key, explicit partition", writer="worker",
    cleanup=Cleanup.COMPACT, restricted=True, zh="案件引擎状态", en="state of the case engine",
)  # fmt: skip

TOPICS = (
    REPORTS, VISITS, CASE_COMMANDS, CAMERA_EVENTS, CAMERA_TELEMETRY, SILENCES, CLOCK_TICKS, CASE_EVENTS, CASE_RESULTS,
    CASES, GRID_STATE, ALERTS_SLA, ALERTS_CAMERA, ALERTS_SAFETY, REPORTERS, REFERENCE, DEAD_LETTERS, STATE_CHANGELOG,
)  # fmt: skip
ENGINE_INPUTS = (
    REPORTS,
    CASE_COMMANDS,
    CAMERA_EVENTS,
    CAMERA_TELEMETRY,
    SILENCES,
    CLOCK_TICKS,
)  # read by the case engine
BY_NAME = {topic.name: topic for topic in TOPICS}


def config(topic: Topic) -> dict[str, str]:
    """Return the broker-side configuration of *topic*."""
    settings = {
        "cleanup.policy": topic.cleanup.value,
        "retention.ms": str(topic.retention_ms),
        "message.timestamp.type": "LogAppendTime",
    }
    if topic in (DEAD_LETTERS, REFERENCE):
        # Any record of any topic fits in with its reason; so does a district of many thousand grids.
        settings["max.message.bytes"] = str(16 << 20)
    if topic.cleanup is Cleanup.COMPACT:
        settings |= {"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}
    return settings
