"""The case state machine: frozen case and event in, case and ledger events out. Pure.

    巡查上报 reported → 分拨流转 dispatched → 接收处置 handling → 核查反馈 verifying → 归档建账 archived
        ▲  ▲              │ return 退单          │ ▲ rework 返工     │                   │
        │  └──────────────┴─────────────────────┘ └────────────────┘                   │
        └───────────────────────────── reopen, a new round ────────────────────────────┘

What a case allows follows from its sub-step (`substep`). A move that is not allowed is a `Refusal`
with the reason; it changes nothing. Before an event of time *t* touches a case, its deadlines up
to *t* fire (`fire`), and a pause that has used up its time ends.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain import ids, sla
from schemas.cases import (
    Case,
    Clock,
    Closure,
    Command,
    LedgerEvent,
    LedgerKind,
    Level,
    Move,
    Stage,
    Substep,
    TaskState,
    Timer,
)
from schemas.fields import CameraId
from schemas.grid import Registry, Role
from schemas.policy import Ladder, Policy, Severity
from schemas.reports import Channel, Location, Urgency

_MILLISECOND: Final = timedelta(milliseconds=1)


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
    location: Location | None = None
    reported_by: str | None = None
    settled: str | None = None  # 自行处置: how the reporter settled it
    similar_to: str | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """A case after something happened to it, and the ledger events that say so."""

    case: Case
    events: list[LedgerEvent]


class Refusal(Struct, frozen=True, kw_only=True):
    """A move that is not allowed, and why."""

    reason: str
    detail: str


_ALWAYS: Final = frozenset({Move.CLOSE, Move.VOID, Move.SUPERVISE})
_AT_WORK: Final = _ALWAYS | {Move.DISPATCH, Move.RETURN, Move.PAUSE, Move.EXTEND, Move.ASSIGN, Move.HANDLE}
_ALLOWED: Final[dict[Substep, frozenset[Move]]] = {
    Substep.AWAITING_ACCEPTANCE: _ALWAYS | {Move.ACCEPT, Move.DISPATCH},
    Substep.AWAITING_DISPATCH: _ALWAYS | {Move.DISPATCH},
    Substep.AWAITING_ACKNOWLEDGEMENT: _ALWAYS | {Move.DISPATCH, Move.RETURN, Move.ACKNOWLEDGE},
    # Who settles it without saying that they arrived has arrived: villages lose signal.
    Substep.EN_ROUTE: _AT_WORK | {Move.ARRIVE},
    Substep.IN_HAND: _AT_WORK,
    Substep.COORDINATED: (_AT_WORK | {Move.COMPLETE}) - {Move.CLOSE, Move.DISPATCH, Move.HANDLE, Move.RETURN},
    Substep.PAUSED: frozenset({Move.RESUME, Move.EXTEND, Move.VOID, Move.SUPERVISE}),
    Substep.AWAITING_VERIFICATION: frozenset({Move.VERIFY, Move.REWORK, Move.VOID, Move.SUPERVISE}),
    Substep.CLOSED: frozenset({Move.FEEDBACK, Move.REOPEN}),
}
_OF_STAGE: Final = {
    Stage.REPORTED: Substep.AWAITING_DISPATCH,
    Stage.DISPATCHED: Substep.AWAITING_ACKNOWLEDGEMENT,
    Stage.HANDLING: Substep.IN_HAND,
    Stage.VERIFYING: Substep.AWAITING_VERIFICATION,
    Stage.ARCHIVED: Substep.CLOSED,
}
_OF_CLOCK: Final = {Clock.ACCEPT: Substep.AWAITING_ACCEPTANCE, Clock.ARRIVE: Substep.EN_ROUTE}
_CENTRES: Final = frozenset({Role.STREET_CENTRE, Role.DISTRICT_CENTRE})
_OFFICE: Final = frozenset(Role) - {Role.PART_TIME, Role.DEPARTMENT}
# Whom a move takes; the others are open to everybody who serves the grid.
_ROLES: Final[dict[Move, frozenset[Role]]] = {
    Move.ACCEPT: _OFFICE,
    Move.DISPATCH: frozenset(Role) - {Role.PART_TIME},
    Move.EXTEND: _CENTRES,
    Move.ASSIGN: frozenset({Role.DISTRICT_CENTRE}),
    Move.COMPLETE: frozenset({Role.DEPARTMENT}),
    Move.CLOSE: _OFFICE,
    Move.VOID: _OFFICE,
    Move.SUPERVISE: _CENTRES,
    Move.FEEDBACK: _OFFICE,
}
_REASONED: Final = frozenset(
    {Move.RETURN, Move.PAUSE, Move.EXTEND, Move.ASSIGN, Move.CLOSE, Move.VOID, Move.SUPERVISE, Move.REOPEN}
)
_INDEPENDENT: Final = frozenset({Move.VERIFY, Move.REWORK, Move.FEEDBACK})
_LEVELS: Final = list(Level)


def substep(case: Case) -> Substep:
    """Return where within its stage *case* stands."""
    timer = case.timer
    if case.stage is Stage.ARCHIVED or timer is None:
        return _OF_STAGE[case.stage]
    if timer.paused_at is not None:
        return Substep.PAUSED
    if case.stage is Stage.HANDLING and TaskState.OPEN in case.tasks.values():
        return Substep.COORDINATED
    return _OF_CLOCK.get(timer.clock, _OF_STAGE[case.stage])


def allowed_moves(case: Case) -> list[Move]:
    """Return the moves that the case's sub-step allows, in workflow order."""
    allowed = _ALLOWED[substep(case)]
    return [move for move in Move if move in allowed]


def open_case(opening: Opening, cause: Cause, policy: Policy, policy_id: str, registry: Registry) -> Outcome:
    """Open a case and dispatch it to who must go first, if the roster has one.

    What a worker settled on the spot (自行处置) waits for verification at once.
    """
    grid_id, at = opening.grid_id, cause.at
    case_id = ids.case_id(grid_id, opening.origin_id)
    event = _opening_line(opening, cause, case_id)
    settler = opening.reported_by if opening.settled is not None else None
    person: str | None
    if settler is not None and registry.serves(settler, grid_id, at):
        person, stage, clock, kind = settler, Stage.VERIFYING, Clock.VERIFY, LedgerKind.HANDLED
    else:
        settler = None
        person = first_responder(opening, at, policy, registry)
        stage, clock, kind = Stage.DISPATCHED, Clock.ACKNOWLEDGE, LedgerKind.DISPATCHED
    if person is None:  # nobody to send: the centre must take it up
        stage = Stage.REPORTED
        timer = sla.start(event, Clock.ACCEPT, armed=1, at=at, policy=policy)
        events = [replace(event, clock=Clock.ACCEPT, due_at=timer.due_at)]
    else:
        timer = sla.start(event, clock, armed=2, at=at, policy=policy)
        second = replace(
            event,
            event_id=ids.ledger_id(cause.id, case_id, 2),
            number=2,
            kind=kind,
            stage=stage,
            by=settler,
            assignee=person,
            clock=clock,
            due_at=timer.due_at,
            note=opening.settled if settler is not None else None,
            related_to=None,
        )
        events = [event, second]
    case = Case(
        case_id=case_id,
        grid_id=grid_id,
        item_code=opening.item_code,
        channel=opening.channel,
        urgency=opening.urgency,
        origin_id=opening.origin_id,
        summary=opening.summary,
        stage=stage,
        level=Level.VILLAGE,
        version=len(events),
        policy=policy_id,
        occurred_at=opening.occurred_at,
        opened_at=at,
        updated_at=at,
        assignee=person,
        handler=settler,
        camera_id=opening.camera_id,
        timer=timer,
        location=opening.location,
        similar_to=opening.similar_to,
    )
    return Outcome(case=case, events=events)


def _opening_line(opening: Opening, cause: Cause, case_id: str) -> LedgerEvent:
    return LedgerEvent(
        event_id=ids.ledger_id(cause.id, case_id, 1),
        case_id=case_id,
        grid_id=opening.grid_id,
        number=1,
        kind=LedgerKind.OPENED,
        at=cause.at,
        stage=Stage.REPORTED,
        level=Level.VILLAGE,
        item_code=opening.item_code,
        channel=opening.channel,
        by=opening.reported_by,
        related_to=opening.similar_to,
    )


def first_responder(opening: Opening, at: datetime, policy: Policy, registry: Registry) -> str | None:
    """Return who is sent first: the grid's part-time worker, else the village's full-time one.

    A major issue that a part-time worker reports goes to the full-time one at once. Who is away
    has their substitute go.
    """
    roles: tuple[Role, ...] = (Role.PART_TIME, Role.FULL_TIME)
    reporter = registry.people.get(opening.reported_by or "")
    if (
        reporter is not None
        and reporter.role is Role.PART_TIME
        and policy.items[opening.item_code].severity is Severity.MAJOR
    ):
        roles = (Role.FULL_TIME, Role.PART_TIME)
    for role in roles:
        for person in registry.people_for(opening.grid_id, role):
            acting = registry.on_duty(person.id, at)
            if acting is not None:
                return acting
    return None


class _Asked(Struct, frozen=True):
    """A command and all that decides on it."""

    case: Case
    command: Command
    at: datetime
    policy: Policy
    registry: Registry


def apply(case: Case, command: Command, cause: Cause, policy: Policy, registry: Registry) -> Outcome | Refusal:
    """Move *case* as *command* asks, or say why not."""
    asked = _Asked(case, command, cause.at, policy, registry)
    for check in (_stage_refusal, _actor_refusal, _person_refusal, _content_refusal, _limit_refusal):
        refusal = check(asked)
        if refusal is not None:
            return refusal
    ledger = _Ledger(asked, cause)
    _MOVES[command.move](ledger, asked)
    return Outcome(case=ledger.case, events=ledger.events)


def fire(case: Case, until: datetime, policy: Policy) -> Outcome:
    """Let every step of the case's clock that is due by *until* happen, each at its own due time."""
    events: list[LedgerEvent] = []
    while (timer := case.timer) is not None and timer.next_at is not None and timer.next_at <= until:
        step = _step if timer.paused_at is None else _end_pause
        case, more = step(case, timer, timer.next_at, policy)
        events += more
    return Outcome(case=case, events=events)


def _stage_refusal(asked: _Asked) -> Refusal | None:
    at = substep(asked.case)
    if asked.command.move in _ALLOWED[at]:
        return None
    return Refusal(reason="illegal_move", detail=f"{asked.command.move} is not allowed while {asked.case.stage} ({at})")


def _actor_refusal(asked: _Asked) -> Refusal | None:
    command, case = asked.command, asked.case
    if not asked.registry.serves(command.by, case.grid_id, asked.at):
        return Refusal(reason="not_on_roster", detail=f"{command.by} does not serve grid {case.grid_id}")
    role = asked.registry.people[command.by].role
    if command.move in _ROLES and role not in _ROLES[command.move]:
        return Refusal(reason="role", detail=f"{command.move} is not for role {role}")
    if command.move in _INDEPENDENT and (command.by == case.handler or command.by in case.tasks):
        return Refusal(reason="same_person", detail="who handled a case cannot verify it")
    if command.move is Move.EXTEND and command.by == case.assignee:
        return Refusal(reason="same_person", detail="who has a case cannot approve its extension")
    if command.move is Move.COMPLETE and case.tasks.get(command.by) is not TaskState.OPEN:
        return Refusal(reason="no_task", detail=f"{command.by} has no open task of this case")
    return None


def _person_refusal(asked: _Asked) -> Refusal | None:
    """Refuse an assignee who cannot take it."""
    move, assignee, registry = asked.command.move, asked.command.assignee, asked.registry
    if move is Move.DISPATCH:
        if assignee is None or not registry.serves(assignee, asked.case.grid_id, asked.at):
            return Refusal(reason="assignee", detail=f"{assignee} does not serve grid {asked.case.grid_id}")
        if registry.on_duty(assignee, asked.at) is None:
            return Refusal(reason="absent", detail=f"{assignee} is away, and nobody stands in")
    if move is Move.ASSIGN:
        person = registry.people.get(assignee or "")
        if person is None or person.role is not Role.DEPARTMENT or not registry.serves(person.id, asked.case.grid_id):
            return Refusal(reason="assignee", detail=f"{assignee} is not of a department of the district")
        if asked.case.tasks.get(person.id) is TaskState.OPEN:  # one that is done may be needed again after rework
            return Refusal(reason="has_task", detail=f"{assignee} has an open task of this case")
    return None


def _content_refusal(asked: _Asked) -> Refusal | None:
    """Refuse a command that lacks what its move needs."""
    command, case = asked.command, asked.case
    is_again = command.move is Move.DISPATCH and case.assignee is not None
    if (command.move in _REASONED or is_again) and not (command.note or "").strip():
        return Refusal(reason="note", detail=f"{command.move} needs its reason as note")
    if command.move is Move.CLOSE:
        if command.closure in (None, Closure.FIXED, Closure.VOID):
            return Refusal(reason="closure", detail="a close without handling says why, and that is not 'fixed'")
        if (command.closure is Closure.DUPLICATE) != (command.duplicate_of not in (None, case.case_id)):
            return Refusal(reason="duplicate_of", detail="a duplicate, and nothing else, names another case")
    if command.move is Move.EXTEND and command.extend_ms is None:
        return Refusal(reason="extend_ms", detail="an extension says by how much")
    if command.move is Move.FEEDBACK and command.satisfaction is None:
        return Refusal(reason="satisfaction", detail="a feedback says how satisfied the reporter is")
    return None


def _limit_refusal(asked: _Asked) -> Refusal | None:
    case, limits = asked.case, asked.policy.file.limits
    is_spent, detail = {
        Move.RETURN: (case.returns >= limits.returns, f"{limits.returns} returns are spent: it is under supervision"),
        Move.PAUSE: (case.paused_ms >= limits.pause_ms, f"{limits.pause_ms} ms of pauses are spent"),
        Move.EXTEND: (
            case.extensions >= limits.extensions or (asked.command.extend_ms or 0) > limits.extension_ms,
            f"at most {limits.extensions} extensions of at most {limits.extension_ms} ms",
        ),
        Move.REOPEN: (
            case.round >= limits.rounds or case.closure is Closure.VOID,
            f"at most {limits.rounds} rounds, and none after void",
        ),
    }.get(asked.command.move, (False, ""))
    return Refusal(reason="limit", detail=detail) if is_spent else None


def _accept(ledger: "_Ledger", asked: _Asked) -> None:
    ledger.add(LedgerKind.ACCEPTED, clock=Clock.DISPATCH)


def _dispatch(ledger: "_Ledger", asked: _Asked) -> None:
    acting = asked.registry.on_duty(asked.command.assignee or "", asked.at)
    ledger.add(LedgerKind.DISPATCHED, clock=Clock.ACKNOWLEDGE, stage=Stage.DISPATCHED, assignee=acting)


def _return(ledger: "_Ledger", asked: _Asked) -> None:
    returns = asked.case.returns + 1
    ledger.add(LedgerKind.RETURNED, clock=Clock.DISPATCH, stage=Stage.REPORTED, assignee=None, returns=returns)
    if returns >= asked.policy.file.limits.returns:
        _supervise(ledger, asked)


def _acknowledge(ledger: "_Ledger", asked: _Asked) -> None:
    clock = Clock.ARRIVE if asked.case.urgency is Urgency.URGENT else Clock.DISPOSE
    ledger.add(LedgerKind.ACKNOWLEDGED, clock=clock, stage=Stage.HANDLING, assignee=asked.command.by)


def _arrive(ledger: "_Ledger", asked: _Asked) -> None:
    ledger.add(LedgerKind.ARRIVED, clock=Clock.DISPOSE)


def _pause(ledger: "_Ledger", asked: _Asked) -> None:
    left = asked.policy.file.limits.pause_ms - asked.case.paused_ms
    timer = sla.pause(_running(asked.case), asked.at)
    ledger.adjust(LedgerKind.PAUSED, replace(timer, next_at=asked.at + left * _MILLISECOND))


def _resume(ledger: "_Ledger", asked: _Asked) -> None:
    timer = _running(asked.case)
    paused_ms = _paused_ms(asked.case, timer, asked.at)
    timer = sla.resume(timer, asked.at, asked.policy, asked.case.item_code)
    ledger.adjust(LedgerKind.RESUMED, timer, paused_ms=paused_ms)


def _extend(ledger: "_Ledger", asked: _Asked) -> None:
    by_ms = asked.command.extend_ms or 0
    timer = sla.extend(_running(asked.case), by_ms, asked.policy, asked.case.item_code)
    ledger.adjust(LedgerKind.EXTENDED, timer, extended_ms=by_ms, extensions=asked.case.extensions + 1)


def _assign(ledger: "_Ledger", asked: _Asked) -> None:
    """Give a department its part; the first one makes the district the owner, with a clock of its own."""
    case, command = asked.case, asked.command
    tasks = {**case.tasks, command.assignee or "": TaskState.OPEN}
    if case.tasks:
        ledger.add(LedgerKind.ASSIGNED, about=command.assignee, tasks=tasks)
        return
    level = max(case.level, Level.DISTRICT, key=_LEVELS.index)
    changes = {"tasks": tasks, "owner": command.by, "level": level}
    ledger.add(LedgerKind.ASSIGNED, clock=Clock.DISPOSE, about=command.assignee, **changes)


def _complete(ledger: "_Ledger", asked: _Asked) -> None:
    by = asked.command.by
    ledger.add(LedgerKind.COMPLETED, about=by, tasks={**asked.case.tasks, by: TaskState.DONE})


def _handle(ledger: "_Ledger", asked: _Asked) -> None:
    ledger.add(LedgerKind.HANDLED, clock=Clock.VERIFY, stage=Stage.VERIFYING, handler=asked.command.by)


def _rework(ledger: "_Ledger", asked: _Asked) -> None:
    rework = asked.case.rework + 1
    ledger.add(LedgerKind.REWORKED, clock=Clock.DISPOSE, stage=Stage.HANDLING, rework=rework)
    if rework >= asked.policy.file.limits.reworks:
        _supervise(ledger, asked)


def _verify(ledger: "_Ledger", asked: _Asked) -> None:
    ledger.add(LedgerKind.VERIFIED)
    _archive(ledger, asked, LedgerKind.ARCHIVED, Closure.FIXED)


def _close(ledger: "_Ledger", asked: _Asked) -> None:
    _archive(ledger, asked, LedgerKind.ARCHIVED, asked.command.closure)


def _void(ledger: "_Ledger", asked: _Asked) -> None:
    _archive(ledger, asked, LedgerKind.VOIDED, Closure.VOID)


def _archive(ledger: "_Ledger", asked: _Asked, kind: LedgerKind, closure: Closure | None) -> None:
    case, at = ledger.case, asked.at
    ledger.add(
        kind,
        stage=Stage.ARCHIVED,
        timer=None,
        archived_at=at,
        closure=closure,
        first_closed_at=case.first_closed_at or at,
        duplicate_of=asked.command.duplicate_of,
        paused_ms=_paused_ms(case, case.timer, at) if case.timer else case.paused_ms,
    )


def _supervise(ledger: "_Ledger", asked: _Asked) -> None:
    """Tell the boss (督办); whose case it is stays as it is."""
    ledger.add(LedgerKind.SUPERVISED, supervisions=ledger.case.supervisions + 1)


def _feedback(ledger: "_Ledger", asked: _Asked) -> None:
    ledger.add(LedgerKind.FEEDBACK, satisfaction=asked.command.satisfaction)


def _reopen(ledger: "_Ledger", asked: _Asked) -> None:
    fresh = {
        "stage": Stage.REPORTED,
        "round": asked.case.round + 1,
        "assignee": None,
        "handler": None,
        "owner": None,
        "tasks": {},
        "archived_at": None,
        "satisfaction": None,
        "duplicate_of": None,
        "rework": 0,
        "returns": 0,
        "extensions": 0,
        "supervisions": 0,
    }
    ledger.case = replace(ledger.case, **fresh)
    ledger.add(LedgerKind.REOPENED, clock=Clock.DISPATCH)
    ledger.case = replace(ledger.case, closure=None)  # after the line that says which end it undoes


_MOVES: Final[dict[Move, Callable[["_Ledger", _Asked], None]]] = {
    Move.ACCEPT: _accept,
    Move.DISPATCH: _dispatch,
    Move.RETURN: _return,
    Move.ACKNOWLEDGE: _acknowledge,
    Move.ARRIVE: _arrive,
    Move.PAUSE: _pause,
    Move.RESUME: _resume,
    Move.EXTEND: _extend,
    Move.ASSIGN: _assign,
    Move.COMPLETE: _complete,
    Move.HANDLE: _handle,
    Move.VERIFY: _verify,
    Move.REWORK: _rework,
    Move.CLOSE: _close,
    Move.VOID: _void,
    Move.SUPERVISE: _supervise,
    Move.FEEDBACK: _feedback,
    Move.REOPEN: _reopen,
}


def _running(case: Case) -> Timer:
    assert case.timer is not None  # noqa: S101 - at work, a case has a clock
    return case.timer


def _paused_ms(case: Case, timer: Timer, at: datetime) -> int:
    """Return the total of the case's pauses, one that ends at *at* included, rounded up."""
    return case.paused_ms if timer.paused_at is None else case.paused_ms - (timer.paused_at - at) // _MILLISECOND


def _end_pause(case: Case, timer: Timer, at: datetime, policy: Policy) -> tuple[Case, list[LedgerEvent]]:
    """Return *case* running again, because its pauses have used up their time."""
    paused_ms = _paused_ms(case, timer, at)
    event_id = ids.step_id(case.case_id, timer, LedgerKind.RESUMED, case.level, 0)
    timer = sla.resume(timer, at, policy, case.item_code)
    case = replace(case, version=case.version + 1, updated_at=at, timer=timer, paused_ms=paused_ms)
    return case, [ledger_event(case, event_id, LedgerKind.RESUMED, at, clock=timer.clock, due_at=timer.due_at)]


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
        yield (LedgerKind.ESCALATED if told is None else LedgerKind.NOTIFIED), rung.level, 0
    elif repeat:
        yield LedgerKind.REMINDED, told or case.level, repeat


def ledger_event(
    case: Case,
    event_id: str,
    kind: LedgerKind,
    at: datetime,
    *,
    clock: Clock | None = None,
    due_at: datetime | None = None,
    repeat: int = 0,
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
        assignee=case.assignee,
        clock=clock,
        due_at=due_at,
        repeat=repeat,
    )


class _Ledger:
    """Collects what one command does to one case."""

    def __init__(self, asked: _Asked, cause: Cause) -> None:
        self.case, self.events = asked.case, list[LedgerEvent]()
        self._asked, self._cause = asked, cause

    def add(self, kind: LedgerKind, *, clock: Clock | None = None, about: str | None = None, **changes: object) -> None:
        """Write a line that changes the case, and starts *clock* if there is one; *about* is whose task it is."""
        case, at = (
            replace(self.case, version=self.case.version + 1, updated_at=self._cause.at, **changes),
            self._cause.at,
        )
        due_at = None
        if clock is not None:
            timer = sla.start(case, clock, armed=case.version, at=at, policy=self._asked.policy)
            case, due_at = replace(case, timer=timer), timer.due_at
        self._write(case, kind, clock=clock, due_at=due_at, about=about)

    def adjust(self, kind: LedgerKind, timer: Timer, *, extended_ms: int | None = None, **changes: object) -> None:
        """Write a line that leaves the clock that runs as *timer*."""
        changes |= {"version": self.case.version + 1, "updated_at": self._cause.at, "timer": timer}
        due_at = None if timer.paused_at is not None else timer.due_at
        self._write(replace(self.case, **changes), kind, clock=timer.clock, due_at=due_at, extended_ms=extended_ms)

    def _write(
        self,
        case: Case,
        kind: LedgerKind,
        *,
        clock: Clock | None,
        due_at: datetime | None,
        about: str | None = None,
        extended_ms: int | None = None,
    ) -> None:
        self.case, command = case, self._asked.command
        event = ledger_event(
            case,
            ids.ledger_id(self._cause.id, case.case_id, case.version),
            kind,
            self._cause.at,
            clock=clock,
            due_at=due_at,
        )
        is_end = kind in _ENDS
        self.events.append(
            replace(
                event,
                by=command.by,
                note=command.note,
                assignee=about or event.assignee,
                extended_ms=extended_ms,
                closure=case.closure if is_end else None,
                related_to=case.duplicate_of if is_end else None,
                satisfaction=case.satisfaction if kind is LedgerKind.FEEDBACK else None,
            )
        )


_ENDS: Final = frozenset({LedgerKind.ARCHIVED, LedgerKind.VOIDED, LedgerKind.REOPENED})
