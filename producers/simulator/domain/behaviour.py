"""What the people of the demo district do. Pure: each decision is drawn from a given generator."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain.refusals import substep
from schemas.cases import Case, Closure, Move, Satisfaction, Substep, TaskState
from schemas.grid import Role
from schemas.policy import Policy, Severity
from schemas.registry import Registry

if TYPE_CHECKING:
    from random import Random  # drawn from, never made here

NEGLECTED = 0.12  # share of cases that nobody acknowledges: these climb the whole ladder
SLOW = 0.15  # share of acts that come after the deadline
TWICE = 0.05  # share of reports that the phone sends again
REWORKED = 0.1
RETURNED, PAUSED, EXTENDED, COORDINATED = 0.04, 0.04, 0.04, 0.05  # the rarer moves of who has a case
REOPENED, ASKED = 0.03, 0.2  # of closed ones
PRIVATE = 0.03  # share of residents' reports
EXTENSION_MS = 10_000  # demo budgets are seconds
_RETRIES_S = (1.0, 2.0, 4.0, 8.0, 8.0)  # a broker that was killed is back well within their sum

_WORDS = ("巡查发现", "群众反映", "路过看到", "电话报来", "走访得知")


class Plan(Struct, frozen=True, kw_only=True):
    """What somebody is going to do about a case, and when."""

    move: Move
    by: str
    delay_s: float = 0.0
    assignee: str | None = None
    note: str | None = None
    extend_ms: int | None = None
    satisfaction: Satisfaction | None = None

    def body(self, command_id: str) -> dict[str, Any]:
        """Return the body of the command that does it."""
        asked: dict[str, Any] = msgspec.to_builtins(self)
        given = {name: value for name, value in asked.items() if value is not None and name != "delay_s"}
        return {"command_id": command_id} | given


def draw_report(rng: "Random", number: int, registry: Registry, policy: Policy, now: datetime) -> dict[str, Any]:
    """Return the body of one report; every third comes from a resident with a phone number."""
    grid = rng.choice(list(registry.grids))
    item = rng.choice(list(policy.items.values()))
    body: dict[str, Any] = {
        "report_id": f"sim-{now:%Y%m%dT%H%M%S}-{number:06d}",
        "grid_id": grid,
        "item_code": item.code,
        "channel": "worker",
        "occurred_at": now.isoformat(),
        "description": f"{rng.choice(_WORDS)}:{item.name}(第{number}件,演示)",
        "urgency": "urgent" if item.severity is Severity.MAJOR else "normal",
    }
    if number % 3:
        return body | {"reported_by": registry.people_for(grid, Role.PART_TIME)[0].id}
    phone = f"1390000{rng.randrange(10_000):04d}"
    description = f"{body['description']},联系电话{phone}"
    body |= {"channel": "resident", "description": description, "reporter": {"name": "演示居民", "phone": phone}}
    return body | ({"visibility": "private"} if rng.random() < PRIVATE else {})


def draw_bad_body(rng: "Random", number: int, registry: Registry, policy: Policy, now: datetime) -> dict[str, Any]:
    """Return the body of a report that no intake may take: of wrong shape, or about what does not exist."""
    wrong = rng.choice(
        ({"grid_id": "not a grid"}, {"occurred_at": "yesterday"}, {"grid_id": "9" * 15}, {"item_code": "99999"})
    )
    return draw_report(rng, number, registry, policy, now) | {"report_id": f"bad-{number}"} | wrong


def retry_pause_s(attempt: int, unit: float) -> float | None:
    """Return how long a phone waits after its *attempt*-th try (from 0) went unanswered, or None when it gives up.

    Args:
        attempt: tries before this one.
        unit: in [0, 1); spreads the phones over half the pause.
    """
    return _RETRIES_S[attempt] * (0.75 + 0.5 * unit) if attempt < len(_RETRIES_S) else None


def draw_visit(rng: "Random", number: int, registry: Registry, now: datetime) -> dict[str, Any]:
    """Return the body of one entry of the visit log: two home visits to each publicity round."""
    grid = rng.choice(list(registry.grids))
    return {
        "visit_id": f"sim-{now:%Y%m%dT%H%M%S}-{number:06d}",
        "kind": "home_visit" if number % 3 else "publicity",
        "grid_id": grid,
        "worker": registry.people_for(grid, Role.PART_TIME)[0].id,
        "occurred_at": now.isoformat(),
        "households": rng.randrange(1, 30),
    }


def situation(case: Case) -> str:
    """Return what of *case* people act on; while it stays the same, they do nothing new."""
    tasks = ",".join(f"{person}={state}" for person, state in case.tasks.items())
    return f"{substep(case)}:{case.round}:{case.rework}:{case.returns}:{case.extensions}:{tasks}"


def plan(case: Case, rng: "Random", registry: Registry, budget_s: float) -> Plan | None:
    """Return what is done next about *case*, or None when nobody does anything.

    Args:
        case: as it stands now.
        rng: seeded by the case and its situation, so the same case is always treated alike.
        registry: who could do it.
        budget_s: seconds that the policy allows for this stage.
    """
    drawn = _DRAWS[substep(case)](case, rng, registry)
    if drawn is None:
        return None
    late = 1.1 + rng.random() if rng.random() < SLOW else 0.1 + 0.5 * rng.random()
    return replace(drawn, delay_s=budget_s * late)


def _dispatch(case: Case, _: "Random", registry: Registry) -> Plan:
    assignee = registry.people_for(case.grid_id, Role.PART_TIME)[0].id
    return Plan(move=Move.DISPATCH, by=_first(case, registry, Role.FULL_TIME), assignee=assignee, note="请前往处置")


def _answer(case: Case, rng: "Random", _: Registry) -> Plan | None:
    by = case.assignee or ""
    if rng.random() < NEGLECTED:
        return None
    if case.returns == 0 and rng.random() < RETURNED:
        return Plan(move=Move.RETURN, by=by, note="不在本网格")
    return Plan(move=Move.ACKNOWLEDGE, by=by)


def _arrive(case: Case, _: "Random", __: Registry) -> Plan:
    return Plan(move=Move.ARRIVE, by=case.assignee or "")


def _work(case: Case, rng: "Random", registry: Registry) -> Plan:
    """Mostly settle it; sometimes it has to wait, takes longer, or needs a department."""
    rare, by, drawn = Move.HANDLE, case.assignee or "", rng.random()
    for share, move, is_first in (
        (PAUSED, Move.PAUSE, case.paused_ms == 0),
        (EXTENDED, Move.EXTEND, case.extensions == 0),
        (COORDINATED, Move.ASSIGN, not case.tasks),
    ):
        if 0 <= drawn < share and is_first:
            rare = move
        drawn -= share
    match rare:
        case Move.PAUSE:
            return Plan(move=rare, by=by, note="等待当事人到场")
        case Move.EXTEND:
            centre = _first(case, registry, Role.STREET_CENTRE)
            return Plan(move=rare, by=centre, note="需要更多时间", extend_ms=EXTENSION_MS)
        case Move.ASSIGN:
            department = rng.choice(registry.people_for(case.grid_id, Role.DEPARTMENT)).id
            centre = _first(case, registry, Role.DISTRICT_CENTRE)
            return Plan(move=rare, by=centre, assignee=department, note="请职能部门协办")
        case _:
            return Plan(move=rare, by=by)


def _complete(case: Case, _: "Random", __: Registry) -> Plan:
    department = next(person for person, state in case.tasks.items() if state is TaskState.OPEN)
    return Plan(move=Move.COMPLETE, by=department)


def _resume(case: Case, _: "Random", __: Registry) -> Plan:
    return Plan(move=Move.RESUME, by=case.assignee or "")


def _check(case: Case, rng: "Random", registry: Registry) -> Plan:
    move = Move.REWORK if case.rework == 0 and rng.random() < REWORKED else Move.VERIFY
    return Plan(move=move, by=_checker(case, registry))


def _look_back(case: Case, rng: "Random", registry: Registry) -> Plan | None:
    """Some reporters are asked afterwards; now and then it was not fixed after all."""
    if case.satisfaction is not None or case.closure is not Closure.FIXED:
        return None
    if case.round == 1 and rng.random() < REOPENED:
        return Plan(move=Move.REOPEN, by=_checker(case, registry), note="问题又出现了")
    if rng.random() < ASKED:
        satisfaction = rng.choice(list(Satisfaction))
        return Plan(move=Move.FEEDBACK, by=_checker(case, registry), satisfaction=satisfaction)
    return None


def _first(case: Case, registry: Registry, role: Role) -> str:
    return registry.people_for(case.grid_id, role)[0].id


def _checker(case: Case, registry: Registry) -> str:
    """Return who may verify: somebody else than who handled it."""
    people = (
        person.id for role in (Role.FULL_TIME, Role.GRID_HEAD) for person in registry.people_for(case.grid_id, role)
    )
    return next(person for person in people if person != case.handler)


_DRAWS: Final[dict[Substep, Callable[[Case, "Random", Registry], Plan | None]]] = {
    Substep.AWAITING_ACCEPTANCE: _dispatch,
    Substep.AWAITING_DISPATCH: _dispatch,
    Substep.AWAITING_ACKNOWLEDGEMENT: _answer,
    Substep.EN_ROUTE: _arrive,
    Substep.IN_HAND: _work,
    Substep.COORDINATED: _complete,
    Substep.PAUSED: _resume,
    Substep.AWAITING_VERIFICATION: _check,
    Substep.CLOSED: _look_back,
}
