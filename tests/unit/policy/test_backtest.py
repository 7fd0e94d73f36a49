"""A month of a district under the policy it had, and under another one."""

from datetime import timedelta
from random import Random

from msgspec.structs import replace

from pipelines.domain import cases
from pipelines.domain.backtest import Comparison, Dimension, Line, backtest
from pipelines.domain.cases import Cause, Opening, Outcome
from schemas.cases import LedgerEvent, LedgerKind, Move
from schemas.policy import Policy, SlaClass
from schemas.reports import Channel
from tests.builders import CHECKER, GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, asked, seconds

MONTH = timedelta(days=30)
ITEMS = ("01001", "01011", "05001", "03001")
OTHER_GRID = "610117001001002"


def a_month(seed: int, size: int) -> list[LedgerEvent]:
    """Return the ledger of *size* cases whose people act in time, late or never."""
    rng = Random(seed)
    return [event for number in range(size) for event in _a_story(rng, number)]


def _a_story(rng: Random, number: int) -> list[LedgerEvent]:
    at = NINE + rng.random() * MONTH
    opening = Opening(
        grid_id=GRID,
        item_code=rng.choice(ITEMS),
        channel=Channel.WORKER,
        origin_id=f"month-{number}",
        summary="演示",
        occurred_at=at,
    )
    outcome = cases.open_case(opening, Cause(id=opening.origin_id, at=at), POLICY, POLICY_ID, REGISTRY)
    case, events = outcome.case, list(outcome.events)
    moves = [(Move.ACKNOWLEDGE, WORKER), (Move.HANDLE, WORKER), (Move.VERIFY, CHECKER)][: rng.randint(0, 3)]
    for move, by in moves:
        at += seconds(rng.expovariate(1 / 15))
        fired = cases.fire(case, at, POLICY)
        moved = cases.apply(fired.case, asked(case, move, by), Cause(id=f"{number}-{move}", at=at), POLICY, REGISTRY)
        assert isinstance(moved, Outcome), moved
        case, events = moved.case, [*events, *fired.events, *moved.events]
    last = cases.fire(case, NINE + MONTH, POLICY)
    return [*events, *last.events]


def halved(policy: Policy, name: str) -> Policy:
    """Return *policy* with the limits of class *name* halved."""

    def half(sla: SlaClass) -> SlaClass:
        return replace(sla, budgets_ms={clock: ms // 2 for clock, ms in sla.budgets_ms.items()})

    classes = [half(sla) if sla.name == name else sla for sla in policy.file.classes]
    return Policy(
        file=replace(policy.file, classes=classes), items=policy.items, groups=policy.groups, calendar=policy.calendar
    )


LEDGER = a_month(7, 400)
FROZEN = dict.fromkeys({event.case_id for event in LEDGER}, POLICY)


def compared(candidate: Policy, ledger: list[LedgerEvent] = LEDGER) -> Comparison:
    return backtest(ledger, FROZEN, candidate, NINE, NINE + MONTH + timedelta(seconds=1))


def lines(found: Comparison, dimension: Dimension) -> dict[str, Line]:
    return {line.key: line for line in found.lines if line.dimension is dimension}


def test_the_policy_of_the_day_gives_what_the_ledger_has() -> None:
    """Every breach and every climb that was recorded is found again by arithmetic alone."""
    found = compared(POLICY)

    assert all(line.recorded == line.before == line.after for line in found.lines)
    [total] = lines(found, Dimension.TOTAL).values()
    assert total.recorded == sum(event.kind is LedgerKind.BREACHED for event in LEDGER) > 100
    assert total.clocks > 800


def test_a_halved_limit_changes_its_own_items_alone() -> None:
    """More breaches where the limit was halved, the same elsewhere; grids and levels add up."""
    found = compared(halved(POLICY, "routine"))
    items = lines(found, Dimension.ITEM)

    routine = {code for code in ITEMS if POLICY.items[code].sla == "routine"}
    assert routine
    assert routine != set(ITEMS)
    assert all(items[code].after > items[code].before for code in routine)
    assert all(items[code].after == items[code].before for code in items.keys() - routine)
    [total], [grid] = lines(found, Dimension.TOTAL).values(), lines(found, Dimension.GRID).values()
    assert (total.before, total.after) == (grid.before, grid.after)
    assert total.after == sum(line.after for line in items.values())
    assert list(lines(found, Dimension.LEVEL)) == ["street", "district", "department"]


def test_the_same_question_has_the_same_answer() -> None:
    """In any order, with repeats, and with whatever was written after the span."""
    shuffled = [*LEDGER, *LEDGER[:100]]
    Random(1).shuffle(shuffled)
    later = [replace(e, case_id=f"{OTHER_GRID}-aaaaaaaaaa", at=NINE + 2 * MONTH) for e in LEDGER[:3]]

    assert compared(halved(POLICY, "major"), [*shuffled, *later]) == compared(halved(POLICY, "major"))


def test_only_clocks_of_the_span_count() -> None:
    """The halves of a span have the clocks of the whole, each once."""
    whole = compared(POLICY)
    middle, end = NINE + MONTH / 2, NINE + MONTH + timedelta(seconds=1)
    second = backtest(LEDGER, FROZEN, POLICY, middle, end)

    started = sum(e.at >= middle and e.due_at is not None and e.kind in _STARTS for e in LEDGER)
    assert lines(second, Dimension.TOTAL)[""].clocks == started < lines(whole, Dimension.TOTAL)[""].clocks


_STARTS = {LedgerKind.DISPATCHED, LedgerKind.ACKNOWLEDGED, LedgerKind.HANDLED}


def test_an_item_that_the_candidate_lacks_is_counted_apart() -> None:
    """Nothing is guessed for it."""
    items = {code: item for code, item in POLICY.items.items() if code != "05001"}
    candidate = Policy(file=POLICY.file, items=items, groups=POLICY.groups, calendar=POLICY.calendar)
    found = compared(candidate)

    gone = {event.case_id for event in LEDGER if event.item_code == "05001"}
    assert found.unknown == len(gone)
    assert "05001" not in lines(found, Dimension.ITEM)
