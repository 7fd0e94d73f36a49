"""The case state machine: frozen case and event in, case and ledger events out. Pure.

    巡查上报 reported → 分拨流转 dispatched → 接收处置 handling → 核查反馈 verifying → 归档建账 archived
                              ▲ re-dispatch │                ▲ rework │
                              └─────────────┴──────┘         └────────┘

A move that is not allowed is a `Refusal` with the reason; it changes nothing.
Before an event of time *t* touches a case, its deadlines up to *t* fire (`fire`).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain import ids, sla
from schemas.cases import Case, Clock, Command, LedgerEvent, LedgerKind, Level, Move, Stage, Timer
from schemas.fields import CameraId
from schemas.grid import Registry, Role
from schemas.policy import Ladder, Policy
from schemas.reports import Channel, Urgency


class Cause(Struct, frozen=True, kw_only=True):
    """The record that made something happen: its id, and its append time by the broker's clock."""

    id: str
    at: datetime


class Opening(Struct, frozen=True, kw_only=True):
    """What a new case is made of, whichever source it came from."""

    grid_id: str
    item_code: str
    channel: Channel
    origin_id: str
    summary: str
    occurred_at: datetime
    urgency: Urgency = Urgency.NORMAL
    camera_id: CameraId | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """A case after something happened to it, and the ledger events that say so."""

    case: Case
    events: list[LedgerEvent]


class Refusal(Struct, frozen=True, kw_only=True):
    """A move that is not allowed, and why."""

    reason: str
    detail: str


_ALLOWED: Final[dict[Stage, frozenset[Move]]] = {
    Stage.REPORTED: frozenset({Move.DISPATCH}),
    Stage.DISPATCHED: frozenset({Move.DISPATCH, Move.ACKNOWLEDGE}),
    Stage.HANDLING: frozenset({Move.DISPATCH, Move.HANDLE}),
    Stage.VERIFYING: frozenset({Move.VERIFY, Move.REWORK}),
    Stage.ARCHIVED: frozenset(),
}


def allowed_moves(case: Case) -> list[Move]:
    """Return the moves that the case's stage allows, in workflow order."""
    return [move for move in Move if move in _ALLOWED[case.stage]]


def open_case(opening: Opening, cause: Cause, policy: Policy, policy_id: str, registry: Registry) -> Outcome:
    """Open a case and dispatch it to the grid's own worker, if the roster has one."""
    case = Case(
        case_id=ids.case_id(opening.grid_id, opening.origin_id),
        grid_id=opening.grid_id,
        item_code=opening.item_code,
        channel=opening.channel,
        urgency=opening.urgency,
        origin_id=opening.origin_id,
        summary=opening.summary,
        stage=Stage.REPORTED,
        level=Level.VILLAGE,
        version=1,
        policy=policy_id,
        occurred_at=opening.occurred_at,
        opened_at=cause.at,
        updated_at=cause.at,
        camera_id=opening.camera_id,
    )
    ledger = _Ledger(replace(case, version=0), cause)
    ledger.add(LedgerKind.OPENED)
    worker = first_responder(opening.grid_id, registry)
    if worker is not None:
        _dispatch(ledger, worker, None, None, policy)
    return ledger.outcome()


def first_responder(grid_id: str, registry: Registry) -> str | None:
    """Return who is sent first: the grid's part-time worker, else the village's full-time one."""
    for role in (Role.PART_TIME, Role.FULL_TIME):
        people = registry.people_for(grid_id, role)
        if people:
            return people[0].id
    return None


def apply(case: Case, command: Command, cause: Cause, policy: Policy, registry: Registry) -> Outcome | Refusal:
    """Move *case* as *command* asks, or say why not."""
    refusal = _stage_refusal(case, command) or _actor_refusal(case, command, registry)
    if refusal is not None:
        return refusal
    ledger = _Ledger(case, cause)
    match command.move:
        case Move.DISPATCH:
            _dispatch(ledger, command.assignee or "", command.by, command.note, policy)
        case Move.ACKNOWLEDGE:
            ledger.add(LedgerKind.ACKNOWLEDGED, stage=Stage.HANDLING, by=command.by, assignee=command.by)
            ledger.arm(Clock.DISPOSE, policy)
        case Move.HANDLE:
            ledger.add(LedgerKind.HANDLED, stage=Stage.VERIFYING, by=command.by, note=command.note)
            ledger.case = replace(ledger.case, handler=command.by)
            ledger.arm(Clock.VERIFY, policy)
        case Move.REWORK:
            ledger.add(LedgerKind.REWORKED, stage=Stage.HANDLING, by=command.by, note=command.note)
            ledger.case = replace(ledger.case, rework=case.rework + 1)
            ledger.arm(Clock.DISPOSE, policy)
        case Move.VERIFY:
            ledger.add(LedgerKind.VERIFIED, by=command.by, note=command.note)
            ledger.add(LedgerKind.ARCHIVED, stage=Stage.ARCHIVED)
            ledger.case = replace(ledger.case, timer=None, archived_at=cause.at)
    return ledger.outcome()


def fire(case: Case, until: datetime, policy: Policy) -> Outcome:
    """Let every step of the case's clock that is due by *until* happen, each at its own due time."""
    events: list[LedgerEvent] = []
    while (timer := case.timer) is not None and timer.next_at is not None and timer.next_at <= until:
        case, more = _step(case, timer, timer.next_at, policy)
        events += more
    return Outcome(case=case, events=events)


def _stage_refusal(case: Case, command: Command) -> Refusal | None:
    if command.move in _ALLOWED[case.stage]:
        return None
    return Refusal(reason="illegal_move", detail=f"{command.move} is not allowed while {case.stage}")


def _actor_refusal(case: Case, command: Command, registry: Registry) -> Refusal | None:
    if not registry.serves(command.by, case.grid_id):
        return Refusal(reason="not_on_roster", detail=f"{command.by} does not serve grid {case.grid_id}")
    if command.move is Move.DISPATCH:
        if registry.people[command.by].role is Role.PART_TIME:
            return Refusal(reason="role", detail="a part-time worker cannot dispatch")
        if command.assignee is None or not registry.serves(command.assignee, case.grid_id):
            return Refusal(reason="assignee", detail=f"{command.assignee} does not serve grid {case.grid_id}")
    if command.move in (Move.VERIFY, Move.REWORK) and command.by == case.handler:
        return Refusal(reason="same_person", detail="who handled a case cannot verify it")
    return None


def _dispatch(ledger: "_Ledger", to: str, by: str | None, note: str | None, policy: Policy) -> None:
    ledger.add(LedgerKind.DISPATCHED, stage=Stage.DISPATCHED, by=by, assignee=to, note=note)
    ledger.arm(Clock.ACKNOWLEDGE, policy)


def _step(case: Case, timer: Timer, at: datetime, policy: Policy) -> tuple[Case, list[LedgerEvent]]:
    """Return *case* after the current step of its timer, with the events of that step."""
    events = []
    for kind, told, times in _acts(case, timer, policy.file.ladder):
        is_kept = told is not case.level and kind is not LedgerKind.ESCALATED
        case = replace(
            case,
            version=case.version + 1,
            level=case.level if is_kept else told,
            updated_at=at,
            breaches=case.breaches + (kind is LedgerKind.BREACHED),
        )
        event_id = ids.step_id(case.case_id, timer, kind, told, times)
        event = ledger_event(case, event_id, kind, at, clock=timer.clock, due_at=timer.due_at, repeat=times)
        events.append(replace(event, told=told) if is_kept else event)
    return replace(case, timer=sla.advance(timer, policy, case.item_code)), events


def _acts(case: Case, timer: Timer, ladder: Ladder) -> Iterator[tuple[LedgerKind, Level, int]]:
    """Yield what the current step of *timer* does: the kind of its line, who is told, which repeat it is."""
    if timer.step == sla.WARN:
        yield LedgerKind.WARNED, case.level, 0
        return
    if timer.step == sla.BREACH:
        yield LedgerKind.BREACHED, case.level, 0
    rung, repeat = sla.rung_of(timer, timer.step, ladder), sla.repeat_of(timer, timer.step, ladder)
    told = sla.supervisor(timer, timer.step, ladder)
    if rung is not None:
        yield (LedgerKind.ESCALATED if told is None else LedgerKind.SUPERVISED), rung.level, 0
    elif repeat:
        yield LedgerKind.REMINDED, told or case.level, repeat


def ledger_event(
    case: Case,
    event_id: str,
    kind: LedgerKind,
    at: datetime,
    *,
    by: str | None = None,
    clock: Clock | None = None,
    due_at: datetime | None = None,
    repeat: int = 0,
    note: str | None = None,
) -> LedgerEvent:
    """Return the ledger line that says *kind* happened and left the case as *case*."""
    return LedgerEvent(
        event_id=event_id,
        case_id=case.case_id,
        grid_id=case.grid_id,
        number=case.version,
        kind=kind,
        at=at,
        stage=case.stage,
        level=case.level,
        item_code=case.item_code,
        channel=case.channel,
        by=by,
        assignee=case.assignee,
        clock=clock,
        due_at=due_at,
        repeat=repeat,
        note=note,
    )


class _Ledger:
    """Collects what one record does to one case."""

    def __init__(self, case: Case, cause: Cause) -> None:
        self.case, self._cause = case, cause
        self._events: list[LedgerEvent] = []

    def add(
        self,
        kind: LedgerKind,
        *,
        stage: Stage | None = None,
        by: str | None = None,
        assignee: str | None = None,
        note: str | None = None,
    ) -> None:
        self.case = replace(
            self.case,
            version=self.case.version + 1,
            stage=stage or self.case.stage,
            assignee=assignee or self.case.assignee,
            updated_at=self._cause.at,
        )
        event_id = ids.ledger_id(self._cause.id, self.case.case_id, self.case.version)
        self._events.append(ledger_event(self.case, event_id, kind, self._cause.at, by=by, note=note))

    def arm(self, clock: Clock, policy: Policy) -> None:
        """Start *clock* by the event just added, and write its deadline on that event."""
        timer = sla.start(self.case, clock, armed=self.case.version, at=self._cause.at, policy=policy)
        self.case = replace(self.case, timer=timer)
        self._events[-1] = replace(self._events[-1], clock=clock, due_at=timer.due_at)

    def outcome(self) -> Outcome:
        return Outcome(case=self.case, events=self._events)
