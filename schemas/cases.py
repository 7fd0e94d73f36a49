"""Cases: the commands that move them, the ledger of what happened, and where they stand."""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.fields import CameraId, CaseId, GridId, Instant, ItemCode, PersonId, RecordId, Text
from schemas.reports import Channel, Location, Urgency, Visibility

REPORTER: Final = "reporter"  # `by` of what a reporter does, who is on no roster; only the intake's own doors send it


class Stage(StrEnum):
    """The five stages of the source article."""

    REPORTED = "reported"  # 巡查上报
    DISPATCHED = "dispatched"  # 分拨流转
    HANDLING = "handling"  # 接收处置
    VERIFYING = "verifying"  # 核查反馈
    ARCHIVED = "archived"  # 归档建账


class Substep(StrEnum):
    """Where within its stage a case stands; it follows from the case, and says what may happen next."""

    AWAITING_ACCEPTANCE = "awaiting_acceptance"  # 待受理
    AWAITING_DISPATCH = "awaiting_dispatch"  # 待派遣
    AWAITING_ACKNOWLEDGEMENT = "awaiting_acknowledgement"  # 待签收
    EN_ROUTE = "en_route"  # 待到场
    IN_HAND = "in_hand"  # 处置中
    COORDINATED = "coordinated"  # 部门协同
    PAUSED = "paused"  # 暂停
    AWAITING_VERIFICATION = "awaiting_verification"  # 待核查
    CLOSED = "closed"  # 已归档


class Closure(StrEnum):
    """Why a case ended: closed is not fixed."""

    FIXED = "fixed"  # 处置到位
    NO_ACTION = "no_action"  # 无需处置
    NOT_RESPONSIBLE = "not_responsible"  # 非本区职责
    DUPLICATE = "duplicate"  # 重复案件, of `duplicate_of`
    CANCELLED = "cancelled"  # 上报人撤回
    REFERRED = "referred"  # 转交
    VOID = "void"  # 作废: should never have been a case


class Satisfaction(StrEnum):
    """What the reporter said when asked afterwards (回访)."""

    SATISFIED = "satisfied"  # 满意
    NEUTRAL = "neutral"  # 基本满意
    DISSATISFIED = "dissatisfied"  # 不满意


class TaskState(StrEnum):
    """How a department's part of a case stands."""

    OPEN = "open"
    DONE = "done"


class Level(StrEnum):
    """Rungs of the ladder, lowest first."""

    VILLAGE = "village"  # 村级网格化服务管理中心
    STREET = "street"  # 街道综治中心
    DISTRICT = "district"  # 区综治中心
    DEPARTMENT = "department"  # 职能部门


class Clock(StrEnum):
    """What a running deadline measures, in the order of the work."""

    ACCEPT = "accept"  # 受理
    DISPATCH = "dispatch"  # 派遣
    ACKNOWLEDGE = "acknowledge"  # 签收
    ARRIVE = "arrive"  # 到场
    DISPOSE = "dispose"  # 处置
    VERIFY = "verify"  # 核查


class Move(StrEnum):
    """What a person may ask of a case, in the order of the work."""

    ACCEPT = "accept"  # 受理
    DISPATCH = "dispatch"  # 派遣, to `assignee`; again, with a reason
    RETURN = "return"  # 退单
    ACKNOWLEDGE = "acknowledge"  # 签收:"好的,收到"
    ARRIVE = "arrive"  # 到场
    PAUSE = "pause"  # 暂停
    RESUME = "resume"  # 恢复
    EXTEND = "extend"  # 批准延期, by `extend_ms`
    ASSIGN = "assign"  # 协办: a task for the department `assignee`
    COMPLETE = "complete"  # 协办完成
    HANDLE = "handle"  # 处置完毕
    VERIFY = "verify"  # 核查通过
    REWORK = "rework"  # 核查不通过,返工
    CLOSE = "close"  # 结案 without handling, as `closure` says
    VOID = "void"  # 作废
    SUPERVISE = "supervise"  # 督办
    FEEDBACK = "feedback"  # 回访
    REOPEN = "reopen"  # 重新立案
    REMARK = "remark"  # 补充说明


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request on `case.commands`, decided by the lane that owns the case."""

    command_id: RecordId
    case_id: CaseId
    move: Move
    by: PersonId
    requested_at: Instant
    assignee: Annotated[PersonId | None, Meta(description="whom to, of a dispatch or a task")] = None
    note: Text | None = None
    closure: Annotated[Closure | None, Meta(description="of a close: why")] = None
    duplicate_of: Annotated[CaseId | None, Meta(description="of a close as duplicate")] = None
    extend_ms: Annotated[int, Meta(ge=1, description="of an extension, in the clock's own time")] | None = None
    satisfaction: Annotated[Satisfaction | None, Meta(description="of a feedback")] = None


class Verdict(StrEnum):
    """How a command ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class CommandResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The lane's answer on `case.results`."""

    command_id: RecordId
    case_id: CaseId
    grid_id: GridId
    verdict: Verdict
    decided_at: Instant
    reason: Annotated[str | None, Meta(description="of a refusal, machine-readable")] = None
    detail: Text | None = None
    stage: Stage | None = None
    allowed: Annotated[list[Move], Meta(description="moves the case allows now")] = []


class LedgerKind(StrEnum):
    """What a ledger event records."""

    OPENED = "opened"
    ACCEPTED = "accepted"
    DISPATCHED = "dispatched"
    RETURNED = "returned"
    ACKNOWLEDGED = "acknowledged"
    ARRIVED = "arrived"
    ASSIGNED = "assigned"  # a task, to `assignee`
    COMPLETED = "completed"  # the task of `assignee`
    HANDLED = "handled"
    VERIFIED = "verified"
    REWORKED = "reworked"
    ARCHIVED = "archived"
    VOIDED = "voided"
    SUPERVISED = "supervised"  # 挂牌督办: of a case that goes back and forth
    FEEDBACK = "feedback"
    REOPENED = "reopened"
    REMARKED = "remarked"
    PAUSED = "paused"
    RESUMED = "resumed"
    EXTENDED = "extended"
    WARNED = "warned"
    BREACHED = "breached"
    ESCALATED = "escalated"
    NOTIFIED = "notified"  # 督办通知: a level above is told of a deadline, the case stays where it is
    REMINDED = "reminded"  # the top rung, told again


class LedgerEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a case's ledger (台账) on `case.events`; never changed, never deleted."""

    event_id: Annotated[str, Meta(max_length=200, description="derived from its cause; repeats are byte-equal")]
    case_id: CaseId
    grid_id: GridId
    number: Annotated[int, Meta(ge=1, description="1, 2, 3 … within the case")]
    kind: LedgerKind
    at: Annotated[Instant, Meta(description="when it took effect, by the broker's clock or the deadline")]
    stage: Annotated[Stage, Meta(description="after the event")]
    level: Annotated[Level, Meta(description="after the event")]
    item_code: ItemCode
    channel: Channel
    by: PersonId | None = None
    assignee: PersonId | None = None
    clock: Clock | None = None
    due_at: Annotated[Instant | None, Meta(description="the deadline this event set, or that passed")] = None
    repeat: int = 0
    told: Annotated[Level | None, Meta(description="of a supervision notice: who is told")] = None
    extended_ms: Annotated[int, Meta(ge=1, description="of an extension: what was granted")] | None = None
    note: Text | None = None
    closure: Annotated[Closure | None, Meta(description="of the end of a case")] = None
    related_to: Annotated[CaseId | None, Meta(description="opened: may be the same thing; archived: is the same")] = (
        None
    )
    satisfaction: Satisfaction | None = None


class Timer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The clock that runs on a case and the next instant at which it acts."""

    clock: Clock
    armed: Annotated[int, Meta(description="ledger number of the event that started it")]
    started_at: Instant
    due_at: Annotated[Instant, Meta(description="end of the budget; once breached it stays what it was")]
    from_level: Annotated[Level, Meta(description="of the case when the clock started: the ladder climbs from here")]
    step: Annotated[int, Meta(ge=0, description="0 warn, 1 breach and first rung, 2… further rungs, then repeats")]
    next_at: Annotated[
        Instant | None,
        Meta(description="when `step` happens, or while paused when the pause must end; null when ended"),
    ]
    paused_at: Annotated[Instant | None, Meta(description="since when the clock stands still")] = None
    paused_ms: Annotated[int, Meta(ge=0, description="of pauses that have ended, as far as the clock counts them")] = 0
    extended_ms: Annotated[int, Meta(ge=0, description="added to the budget by approval")] = 0


class Case(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one case stands, on the compacted `cases` topic; free of personal data."""

    case_id: CaseId
    grid_id: GridId
    item_code: ItemCode
    channel: Channel
    urgency: Urgency
    origin_id: Annotated[str, Meta(description="report_id or event_id that opened it")]
    summary: Text
    stage: Stage
    level: Level
    version: Annotated[int, Meta(ge=1, description="number of the last ledger event")]
    policy: Annotated[str, Meta(description="content hash of the policy it was opened under")]
    occurred_at: Instant
    opened_at: Instant
    updated_at: Instant
    assignee: PersonId | None = None
    handler: PersonId | None = None
    camera_id: CameraId | None = None
    timer: Timer | None = None
    breaches: Annotated[int, Meta(description="deadlines missed so far")] = 0
    rework: Annotated[int, Meta(description="times sent back by verification, in this round")] = 0
    archived_at: Instant | None = None
    location: Location | None = None
    similar_to: Annotated[CaseId | None, Meta(description="an earlier case that may be the same thing")] = None
    duplicate_of: Annotated[CaseId | None, Meta(description="the case that is the same thing, somebody decided")] = None
    owner: Annotated[PersonId | None, Meta(description="of the district, while departments have tasks")] = None
    tasks: Annotated[dict[PersonId, TaskState], Meta(description="of departments, by who has them")] = {}
    closure: Closure | None = None
    satisfaction: Satisfaction | None = None
    first_closed_at: Annotated[Instant | None, Meta(description="end of the first round")] = None
    round: Annotated[int, Meta(ge=1, description="1, and one more with each reopening")] = 1
    returns: Annotated[int, Meta(description="times given back by who had it, in this round")] = 0
    extensions: Annotated[int, Meta(description="granted, in this round")] = 0
    paused_ms: Annotated[int, Meta(description="of all pauses that have ended, by the wall")] = 0
    supervisions: Annotated[int, Meta(description="notices, in this round")] = 0
    visibility: Annotated[Visibility, Meta(description="of a private one: no text, no place, no reasons")] = (
        Visibility.PUBLIC
    )


class GridState(Struct, frozen=True, kw_only=True):
    """One grid now (各网格实时情况), on the compacted `grid.state` topic."""

    grid_id: GridId
    as_of: Instant
    reported: int
    open: int
    archived: int
    by_stage: dict[Stage, int]
    overdue: Annotated[int, Meta(description="open cases whose running clock has breached")]
    breaches: Annotated[int, Meta(description="deadlines missed, ever")]
    oldest_open_at: Instant | None
    cameras: int
    cameras_live: int


class Tick(Struct, frozen=True, kw_only=True):
    """Time as data, on `clock.ticks`: every deadline up to `at` is due once all inputs are read to `ends`."""

    at: Annotated[Instant | None, Meta(description="broker time; null on a lane's first, which only reads the clock")]
    ends: Annotated[dict[str, int], Meta(description="input topic to the end offset of this partition")]
