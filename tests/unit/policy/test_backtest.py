"""A month of a district under the policy it had, and under another one."""

from datetime import timedelta
from random import Random

from msgspec.structs import replace

from pipelines.domain.backtest import Comparison, Dimension, Line, backtest
from schemas.cases import LedgerEvent, LedgerKind
from schemas.policy import Policy, SlaClass
from tests.builders import NINE, POLICY
from tests.months import ITEMS, MONTH, a_month

OTHER_GRID = "610117001001002"


def halved(policy: Policy, name: str) -> Policy:
    """Return *policy* with the limits of class *name* halved."""

    def half(sla: SlaClass) -> SlaClass:
        return replace(sla, budgets_ms={clock: ms // 2 for clock, ms in sla.budgets_ms.items()})

    classes = [half(sla) if sla.name == name else sla for sla in policy.file.classes]
    return Policy(
        file=replace(policy.file, classes=classes), items=policy.items, groups=policy.groups, calendar=policy.calendar
    )


LEDGER = [event for outcome in a_month(7, 400).outcomes for event in outcome.events]
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


_STARTS = {
    LedgerKind.OPENED,
    LedgerKind.ACCEPTED,
    LedgerKind.DISPATCHED,
    LedgerKind.RETURNED,
    LedgerKind.ACKNOWLEDGED,
    LedgerKind.ARRIVED,
    LedgerKind.ASSIGNED,
    LedgerKind.HANDLED,
    LedgerKind.REWORKED,
    LedgerKind.REOPENED,
}


def test_an_item_that_the_candidate_lacks_is_counted_apart() -> None:
    """Nothing is guessed for it."""
    items = {code: item for code, item in POLICY.items.items() if code != "05001"}
    candidate = Policy(file=POLICY.file, items=items, groups=POLICY.groups, calendar=POLICY.calendar)
    found = compared(candidate)

    gone = {event.case_id for event in LEDGER if event.item_code == "05001"}
    assert found.unknown == len(gone)
    assert "05001" not in lines(found, Dimension.ITEM)
