"""A month of a grid's cases, from the rules themselves."""

from datetime import timedelta
from random import Random

from pipelines.domain import cases
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.opening import Opening, open_case
from schemas.cases import Move
from schemas.reports import Channel
from tests.builders import CHECKER, GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, asked, seconds

MONTH = timedelta(days=30)
ITEMS = ("01001", "01011", "05001", "03001")


def a_month(seed: int, size: int) -> list[Outcome]:
    """Return *size* cases whose people act in time, late or never, each with its whole ledger."""
    rng = Random(seed)
    return [_a_story(rng, number) for number in range(size)]


def _a_story(rng: Random, number: int) -> Outcome:
    at = NINE + rng.random() * MONTH
    opening = Opening(
        grid_id=GRID,
        item_code=rng.choice(ITEMS),
        channel=Channel.WORKER,
        origin_id=f"month-{number}",
        summary="演示",
        occurred_at=at,
    )
    outcome = open_case(opening, Cause(id=opening.origin_id, at=at), POLICY, POLICY_ID, REGISTRY)
    case, events = outcome.case, list(outcome.events)
    moves = [(Move.ACKNOWLEDGE, WORKER), (Move.HANDLE, WORKER), (Move.VERIFY, CHECKER)][: rng.randint(0, 3)]
    for move, by in moves:
        at += seconds(rng.expovariate(1 / 15))
        fired = cases.fire(case, at, POLICY)
        moved = cases.apply(fired.case, asked(case, move, by), Cause(id=f"{number}-{move}", at=at), POLICY, REGISTRY)
        assert isinstance(moved, Outcome), moved
        case, events = moved.case, [*events, *fired.events, *moved.events]
    last = cases.fire(case, NINE + MONTH, POLICY)
    return Outcome(case=last.case, events=[*events, *last.events])
