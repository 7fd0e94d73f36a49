"""What the people of the demo district do. Pure: each decision is drawn from a given generator."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from schemas.cases import Case, Move, Stage
from schemas.grid import Registry, Role
from schemas.policy import Policy, Severity

if TYPE_CHECKING:
    from random import Random  # drawn from, never made here

NEGLECTED = 0.12  # share of cases that nobody acknowledges: these climb the whole ladder
SLOW = 0.15  # share of acts that come after the deadline
TWICE = 0.05  # share of reports that the phone sends again
REWORKED = 0.1
_RETRIES_S = (1.0, 2.0, 4.0, 8.0, 8.0)  # a broker that was killed is back well within their sum

_WORDS = ("巡查发现", "群众反映", "路过看到", "电话报来", "走访得知")


class Plan(Struct, frozen=True, kw_only=True):
    """What somebody is going to do about a case, and when."""

    move: Move
    by: str
    delay_s: float


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
    return body | {"channel": "resident", "description": description, "reporter": {"name": "演示居民", "phone": phone}}


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


def plan(case: Case, rng: "Random", registry: Registry, budget_s: float) -> Plan | None:
    """Return what is done next about *case*, or None when nobody does anything.

    Args:
        case: as it stands now.
        rng: seeded by the case and its stage, so the same case is always treated alike.
        registry: who could do it.
        budget_s: seconds that the policy allows for this stage.
    """
    if case.stage is Stage.DISPATCHED and rng.random() < NEGLECTED:
        return None
    late = 1.1 + rng.random() if rng.random() < SLOW else 0.1 + 0.5 * rng.random()
    delay_s = budget_s * late
    match case.stage:
        case Stage.DISPATCHED:
            return Plan(move=Move.ACKNOWLEDGE, by=case.assignee or "", delay_s=delay_s)
        case Stage.HANDLING:
            return Plan(move=Move.HANDLE, by=case.assignee or "", delay_s=delay_s)
        case Stage.VERIFYING:
            checker = registry.people_for(case.grid_id, Role.FULL_TIME)[0].id
            move = Move.REWORK if case.rework == 0 and rng.random() < REWORKED else Move.VERIFY
            return Plan(move=move, by=checker, delay_s=delay_s)
        case _:
            return None
