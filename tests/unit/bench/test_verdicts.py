"""A benchmark that cannot find a wrong result proves nothing: each kind of error is found."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.bench import intake
from tests.bench.fold import add, fold
from tests.bench.grids import Oracle
from tests.bench.report import Report, plot, write
from tests.bench.timers import judge
from tests.bench.worker import Step, rate

DUE_MS = 10_000
A_REPORT = Report(
    bench="grids",
    unit="events/s",
    ours=300_000.0,
    peers={"faust": 4_000.0},
    floor={"confluent": 280_000.0},
    ratios={"vs_faust": 75.0, "vs_floor": 0.9},
    goals={"vs_faust": 60.0, "vs_floor": 1.0},
    exact=True,
)


class Topics:
    """What a run of the clocks left on its topics."""

    def __init__(self, *, stopped: dict[str, int], rung: list[tuple[str, str, int]]) -> None:
        self._stopped, self._rung = stopped, rung

    def due_ms(self) -> Iterator[tuple[str, int]]:
        return iter([("a", DUE_MS), ("b", DUE_MS), ("later", 10 * DUE_MS)])

    def acknowledged_ms(self) -> Iterator[tuple[str, int]]:
        return iter(self._stopped.items())

    def rung(self) -> Iterator[tuple[str, str, int]]:
        return iter(self._rung)


def judged(*rung: tuple[str, str, int], stopped: dict[str, int] | None = None) -> dict[str, Any]:
    run: Any = Topics(stopped={"b": DUE_MS - 1} if stopped is None else stopped, rung=list(rung))
    verdict = judge(run, until_ms=DUE_MS)
    return {name: getattr(verdict, name) for name in ("lost", "early", "wrong", "twice", "is_exact")}


RIGHT = {"lost": 0, "early": 0, "wrong": 0, "twice": 0, "is_exact": True}


def test_a_run_in_which_all_is_right_is_exact() -> None:
    """One rings, one was stopped a millisecond before, one is not due yet; a repeat under the same id is allowed."""
    assert judged(("a", "a/1", DUE_MS), ("a", "a/1", DUE_MS + 5)) == RIGHT


@pytest.mark.parametrize(
    ("rung", "fault"),
    [
        ([], "lost"),
        ([("a", "a/1", DUE_MS - 1)], "early"),
        ([("a", "a/1", DUE_MS), ("b", "b/1", DUE_MS)], "wrong"),
        ([("a", "a/1", DUE_MS), ("a", "a/2", DUE_MS)], "twice"),
    ],
)
def test_each_fault_of_a_timer_is_found(rung: list[tuple[str, str, int]], fault: str) -> None:
    """Lost, early, rung though stopped, rung under two ids."""
    assert judged(*rung) == RIGHT | {fault: 1, "is_exact": False}


def test_an_acknowledgement_at_the_due_time_is_too_late() -> None:
    """The clock must ring all the same."""
    assert judged(("a", "a/1", DUE_MS), stopped={"b": DUE_MS})["lost"] == 1


def test_the_oracle_checks_a_prefix_as_strictly_as_the_whole() -> None:
    """A contestant that stopped early is right only if each cell is the fold of its grid's first readings."""
    oracle = Oracle({"g": [3, 9, 1], "h": [5]})

    assert oracle.confirms({"g": [2, 12, 9]}, 2)
    assert not oracle.confirms({"g": [2, 12, 9]}, 3), "a record is missing"
    assert not oracle.confirms({"g": [2, 10, 9]}, 2), "a record was taken before its turn"
    assert not oracle.confirms({"g": [4, 16, 9]}, 4), "a record was taken twice"


def test_adding_one_by_one_is_folding() -> None:
    """The aggregate and its oracle agree."""
    cell = None
    for people in (3, 9, 1):
        cell = add(cell, people)

    assert cell == fold([3, 9, 1]) == [3, 13, 9]


def test_a_rate_leaves_out_what_came_before_its_clock_started() -> None:
    """The first step's records were read before it; idle time after the last is not counted."""
    way = [Step(0, 0), Step(1_000, 100), Step(5_000, 200), Step(6_000, 1_200), Step(9_000, 1_200)]

    assert rate(way, after=100) == 1_000.0


def test_a_report_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    """Twice is as once; a missed goal is said."""
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- grids: start -->\nold\n<!-- grids: end -->\nafter\n", encoding="utf-8")

    write(A_REPORT, page)
    once = page.read_text(encoding="utf-8")
    write(A_REPORT, page)

    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("before\n")
    assert once.endswith("<!-- grids: end -->\nafter\n")
    assert "old" not in once
    assert "| `vs_floor` | 0.9 | 1, **missed** |" in once
    assert "| `vs_faust` | 75 | 60 |" in once


def test_a_plot_is_well_formed_and_has_a_bar_each() -> None:
    """Also when every figure is nothing."""
    for report in (A_REPORT, replace(A_REPORT, ours=0.0, peers={}, floor={})):
        bars = ET.fromstring(plot(report)).findall("{http://www.w3.org/2000/svg}rect")  # noqa: S314 - our own
        assert len(bars) == len(report.bars)


@pytest.mark.parametrize(
    ("found", "refused", "wrong"),
    [
        (["b-0", "b-1", "b-2"], 0, None),
        (["b-0", "b-2"], 0, "lost"),
        (["b-0", "b-1", "b-2", "b-1"], 0, "twice"),
        (["b-0", "b-1", "b-2"], 1, "refused"),
    ],
)
def test_the_intake_loses_repeats_and_refuses_nothing(found: list[str | None], refused: int, wrong: str | None) -> None:
    """Each of the three is told from the others."""
    verdict = intake.judge(found, 3, refused)

    assert [name for name, count in verdict.items() if count] == ([wrong] if wrong else [])
