"""The case state machine: frozen case and event in, case and ledger events out. Pure.

    巡查上报 reported → 分拨流转 dispatched → 接收处置 handling → 核查反馈 verifying → 归档建账 archived
        ▲  ▲              │ return 退单          │ ▲ rework 返工     │                   │
        │  └──────────────┴─────────────────────┘ └────────────────┘                   │
        └───────────────────────────── reopen, a new round ────────────────────────────┘

A move that is not allowed is a `Refusal` with the reason (`refusals`); it changes nothing. Before an
event of time *t* touches a case, its deadlines up to *t* fire (`fire`), and a pause that has used up
its time ends.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain import ids, sla
from pipelines.domain.refusals import Asked, Refusal, refuse
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
    TaskState,
    Timer,
)
from schemas.policy import Ladder, Policy
from schemas.registry import Registry
from schemas.reports import Urgency, Visibility

_MILLISECOND: Final = timedelta(milliseconds=1)


class Cause(Struct, frozen=True, kw_only=True):
    """The record that made something happen: its id, and its append time by the broker's clock."""

    id: str
    at: datetime


class Outcome(Struct, frozen=True, kw_only=True):
    """A case after something happened to it, and the ledger events that say so."""

    case: Case
    events: list[LedgerEvent]


_LEVELS: Final = list(Level)


def apply(case: Case, command: Command, cause: Cause, policy: Policy, registry: Registry) -> Outcome | Refusal:
    """Move *case* as *command* asks, or say why not."""
    asked = Asked(case, command, cause.at, policy, registry)
    refusal = refuse(asked)
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


def _accept(ledger: "_Ledger", asked: Asked) -> None:
    ledger.add(LedgerKind.ACCEPTED, clock=Clock.DISPATCH)


def _dispatch(ledger: "_Ledger", asked: Asked) -> None:
    acting = asked.registry.on_duty(asked.command.assignee or "", asked.at)
    ledger.add(LedgerKind.DISPATCHED, clock=Clock.ACKNOWLEDGE, stage=Stage.DISPATCHED, assignee=acting)


def _return(ledger: "_Ledger", asked: Asked) -> None:
    returns = asked.case.returns + 1
    ledger.add(LedgerKind.RETURNED, clock=Clock.DISPATCH, stage=Stage.REPORTED, assignee=None, returns=returns)
    if returns >= asked.policy.file.limits.returns:
        _supervise(ledger, asked)


def _acknowledge(ledger: "_Ledger", asked: Asked) -> None:
    clock = Clock.ARRIVE if asked.case.urgency is Urgency.URGENT else Clock.DISPOSE
    ledger.add(LedgerKind.ACKNOWLEDGED, clock=clock, stage=Stage.HANDLING, assignee=asked.command.by)


def _arrive(ledger: "_Ledger", asked: Asked) -> None:
    ledger.add(LedgerKind.ARRIVED, clock=Clock.DISPOSE)


def _pause(ledger: "_Ledger", asked: Asked) -> None:
    left = asked.policy.file.limits.pause_ms - asked.case.paused_ms
    timer = sla.pause(_running(asked.case), asked.at)
    ledger.adjust(LedgerKind.PAUSED, replace(timer, next_at=asked.at + left * _MILLISECOND))


def _resume(ledger: "_Ledger", asked: Asked) -> None:
    timer = _running(asked.case)
    paused_ms = _paused_ms(asked.case, timer, asked.at)
    timer = sla.resume(timer, asked.at, asked.policy, asked.case.item_code)
    ledger.adjust(LedgerKind.RESUMED, timer, paused_ms=paused_ms)


def _extend(ledger: "_Ledger", asked: Asked) -> None:
    by_ms = asked.command.extend_ms or 0
    timer = sla.extend(_running(asked.case), by_ms, asked.policy, asked.case.item_code)
    ledger.adjust(LedgerKind.EXTENDED, timer, extended_ms=by_ms, extensions=asked.case.extensions + 1)


def _assign(ledger: "_Ledger", asked: Asked) -> None:
    """Give a department its part; the first one makes the district the owner, with a clock of its own."""
    case, command = asked.case, asked.command
    tasks = {**case.tasks, command.assignee or "": TaskState.OPEN}
    if case.tasks:
        ledger.add(LedgerKind.ASSIGNED, about=command.assignee, tasks=tasks)
        return
    level = max(case.level, Level.DISTRICT, key=_LEVELS.index)
    changes = {"tasks": tasks, "owner": command.by, "level": level}
    ledger.add(LedgerKind.ASSIGNED, clock=Clock.DISPOSE, about=command.assignee, **changes)


def _complete(ledger: "_Ledger", asked: Asked) -> None:
    by = asked.command.by
    ledger.add(LedgerKind.COMPLETED, about=by, tasks={**asked.case.tasks, by: TaskState.DONE})


def _handle(ledger: "_Ledger", asked: Asked) -> None:
    ledger.add(LedgerKind.HANDLED, clock=Clock.VERIFY, stage=Stage.VERIFYING, handler=asked.command.by)


def _rework(ledger: "_Ledger", asked: Asked) -> None:
    rework = asked.case.rework + 1
    ledger.add(LedgerKind.REWORKED, clock=Clock.DISPOSE, stage=Stage.HANDLING, rework=rework)
    if rework >= asked.policy.file.limits.reworks:
        _supervise(ledger, asked)


def _verify(ledger: "_Ledger", asked: Asked) -> None:
    ledger.add(LedgerKind.VERIFIED)
    _archive(ledger, asked, LedgerKind.ARCHIVED, Closure.FIXED)


def _close(ledger: "_Ledger", asked: Asked) -> None:
    _archive(ledger, asked, LedgerKind.ARCHIVED, asked.command.closure)


def _void(ledger: "_Ledger", asked: Asked) -> None:
    _archive(ledger, asked, LedgerKind.VOIDED, Closure.VOID)


def _archive(ledger: "_Ledger", asked: Asked, kind: LedgerKind, closure: Closure | None) -> None:
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


def _supervise(ledger: "_Ledger", asked: Asked) -> None:
    """Tell the boss (督办); whose case it is stays as it is."""
    ledger.add(LedgerKind.SUPERVISED, supervisions=ledger.case.supervisions + 1)


def _feedback(ledger: "_Ledger", asked: Asked) -> None:
    ledger.add(LedgerKind.FEEDBACK, satisfaction=asked.command.satisfaction)


def _reopen(ledger: "_Ledger", asked: Asked) -> None:
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


def _remark(ledger: "_Ledger", _: Asked) -> None:
    ledger.add(LedgerKind.REMARKED)


_MOVES: Final[dict[Move, Callable[["_Ledger", Asked], None]]] = {
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
    Move.REMARK: _remark,
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

    def __init__(self, asked: Asked, cause: Cause) -> None:
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
                note=command.note if case.visibility is Visibility.PUBLIC else None,
                assignee=about or event.assignee,
                extended_ms=extended_ms,
                closure=case.closure if is_end else None,
                related_to=case.duplicate_of if is_end else None,
                satisfaction=case.satisfaction if kind is LedgerKind.FEEDBACK else None,
            )
        )


_ENDS: Final = frozenset({LedgerKind.ARCHIVED, LedgerKind.VOIDED, LedgerKind.REOPENED})
