"""A book of the ledger proves that the ledger is append-only, or says where it is not."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.domain.ledger import Breach, Finding, bind
from schemas.cases import LedgerEvent
from tests.builders import opened

FIRST = opened().events[0]


def lines_of(case_id: str, count: int) -> list[LedgerEvent]:
    numbers = range(1, count + 1)
    return [replace(FIRST, case_id=case_id, number=n, event_id=f"{case_id}/{n}", note=f"{n}") for n in numbers]


LEDGER = st.integers(1, 8).flatmap(lambda a: st.integers(1, 8).map(lambda b: lines_of("a", a) + lines_of("b", b)))


@given(LEDGER, st.data())
def test_order_and_repeats_of_the_topic_change_no_seal(lines: list[LedgerEvent], data: st.DataObject) -> None:
    """A kill repeats lines byte for byte, and partitions are read in any order."""
    repeated = lines + data.draw(st.lists(st.sampled_from(lines)))

    book = bind(data.draw(st.permutations(repeated)))

    assert [entry.line for entry in book.entries] == lines
    assert book == bind(lines)
    assert not book.findings


@given(LEDGER, st.lists(st.integers(1, 5)))
def test_a_later_export_has_the_seals_of_an_earlier_one(lines: list[LedgerEvent], more: list[int]) -> None:
    """Appending is all that leaves the seals of an earlier export alone."""
    end = Counter(line.case_id for line in lines)["b"]
    longer = lines + [replace(lines[-1], number=end + n, event_id=f"b/{end + n}") for n in range(1, len(more) + 1)]

    assert bind(longer).entries[: len(lines)] == bind(lines).entries


@given(LEDGER, st.data())
def test_a_changed_line_changes_its_seal_and_all_after_it(lines: list[LedgerEvent], data: st.DataObject) -> None:
    """What was rewritten shows, though every line reads well."""
    index = data.draw(st.integers(0, len(lines) - 1))
    forged = [replace(line, note="别的") if at == index else line for at, line in enumerate(lines)]

    pairs = list(zip(bind(lines).entries, bind(forged).entries, strict=True))

    is_after = [e.line.case_id == lines[index].case_id and e.line.number >= lines[index].number for e, _ in pairs]
    assert [one.seal != other.seal for one, other in pairs] == is_after


@given(LEDGER, st.data())
def test_a_line_that_is_gone_or_doubled_is_found(lines: list[LedgerEvent], data: st.DataObject) -> None:
    """Within a case, numbers run 1, 2, 3 …, one line each; only a missing last line needs an earlier export."""
    index = data.draw(st.integers(0, len(lines) - 1))
    line = lines[index]
    is_last = index + 1 == len(lines) or lines[index + 1].case_id != line.case_id

    gone = bind(lines[:index] + lines[index + 1 :]).findings
    doubled = bind([*lines, replace(line, note="别的")]).findings

    missing = Finding(case_id=line.case_id, number=line.number, breach=Breach.MISSING)
    assert gone == ([] if is_last else [missing])
    assert doubled == [replace(missing, breach=Breach.CHANGED)]
