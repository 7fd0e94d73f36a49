"""What a case allows and what it refuses, each refusal with its reason. Pure.

What a case allows follows from its sub-step; a command is then held to the actor's role, to whom
and what it names, and to the limits of the policy the case was opened under.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from msgspec import Struct

from schemas.cases import REPORTER, Case, Clock, Closure, Command, Move, Stage, Substep, TaskState
from schemas.grid import Role
from schemas.policy import Policy
from schemas.registry import Registry


class Refusal(Struct, frozen=True, kw_only=True):
    """A move that is not allowed, and why."""

    reason: str
    detail: str


class Asked(Struct, frozen=True):
    """A command and all that decides on it."""

    case: Case
    command: Command
    at: datetime
    policy: Policy
    registry: Registry


_ALWAYS: Final = frozenset({Move.CLOSE, Move.VOID, Move.SUPERVISE, Move.REMARK})
_AT_WORK: Final = _ALWAYS | {Move.DISPATCH, Move.RETURN, Move.PAUSE, Move.EXTEND, Move.ASSIGN, Move.HANDLE}
_ALLOWED: Final[dict[Substep, frozenset[Move]]] = {
    Substep.AWAITING_ACCEPTANCE: _ALWAYS | {Move.ACCEPT, Move.DISPATCH},
    Substep.AWAITING_DISPATCH: _ALWAYS | {Move.DISPATCH},
    Substep.AWAITING_ACKNOWLEDGEMENT: _ALWAYS | {Move.DISPATCH, Move.RETURN, Move.ACKNOWLEDGE},
    # Who settles it without saying that they arrived has arrived: villages lose signal.
    Substep.EN_ROUTE: _AT_WORK | {Move.ARRIVE},
    Substep.IN_HAND: _AT_WORK,
    Substep.COORDINATED: (_AT_WORK | {Move.COMPLETE}) - {Move.CLOSE, Move.DISPATCH, Move.HANDLE, Move.RETURN},
    Substep.PAUSED: frozenset({Move.RESUME, Move.EXTEND, Move.VOID, Move.SUPERVISE, Move.REMARK}),
    Substep.AWAITING_VERIFICATION: frozenset({Move.VERIFY, Move.REWORK, Move.VOID, Move.SUPERVISE, Move.REMARK}),
    Substep.CLOSED: frozenset({Move.FEEDBACK, Move.REOPEN, Move.REMARK}),
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
_OF_REPORTER: Final = frozenset({Move.FEEDBACK, Move.REOPEN, Move.REMARK})
_REASONED: Final = frozenset(
    {
        Move.RETURN,
        Move.PAUSE,
        Move.EXTEND,
        Move.ASSIGN,
        Move.CLOSE,
        Move.VOID,
        Move.SUPERVISE,
        Move.REOPEN,
        Move.REMARK,
    }
)
_INDEPENDENT: Final = frozenset({Move.VERIFY, Move.REWORK, Move.FEEDBACK})


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


def reporters_moves(moves: Iterable[Move]) -> list[Move]:
    """Return those of *moves* that a reporter may ask for."""
    return [move for move in moves if move in _OF_REPORTER]


def refuse(asked: Asked) -> Refusal | None:
    """Return why the command is not allowed, or None when it is."""
    for check in (_stage_refusal, _roster_refusal, _role_refusal, _person_refusal, _content_refusal, _limit_refusal):
        refusal = check(asked)
        if refusal is not None:
            return refusal
    return None


def _stage_refusal(asked: Asked) -> Refusal | None:
    at = substep(asked.case)
    if asked.command.move in _ALLOWED[at]:
        return None
    return Refusal(reason="illegal_move", detail=f"{asked.command.move} is not allowed while {asked.case.stage} ({at})")


def _roster_refusal(asked: Asked) -> Refusal | None:
    command, case = asked.command, asked.case
    if command.by == REPORTER:
        is_theirs = command.move in _OF_REPORTER
        return None if is_theirs else Refusal(reason="role", detail=f"{command.move} is not for who reported")
    if not asked.registry.serves(command.by, case.grid_id, asked.at):
        return Refusal(reason="not_on_roster", detail=f"{command.by} does not serve grid {case.grid_id}")
    return None


def _role_refusal(asked: Asked) -> Refusal | None:
    command, case = asked.command, asked.case
    if command.by == REPORTER:
        return None
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


def _person_refusal(asked: Asked) -> Refusal | None:
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


def _content_refusal(asked: Asked) -> Refusal | None:
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


def _limit_refusal(asked: Asked) -> Refusal | None:
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
