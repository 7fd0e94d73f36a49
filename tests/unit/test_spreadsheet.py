"""CSV for spreadsheets: text stays text."""

import csv
import io

import pytest

from infra.spreadsheet import BOM, cell, write_csv
from tests.builders import NINE


@pytest.mark.parametrize("text", ["=1+1", "+8613", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "＠x"])
def test_a_text_that_begins_like_a_formula_is_text(text: str) -> None:
    """Whoever may write a note must not run anything on the desk of who reads it."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "shown"), [(None, ""), (-3, "-3"), (0.5, "0.5"), ("a=b", "a=b"), ("占道", "占道")])
def test_other_values_stay_what_they_are(value: object, shown: str) -> None:
    """A negative number is no formula."""
    assert cell(value) == shown


def test_rows_come_back_whole_from_a_reader() -> None:
    """Commas, quotes and line ends inside a cell are the cell's; instants carry their zone."""
    out = io.StringIO(newline="")

    write_csv(out, ("at", "note", "gone"), [{"at": NINE, "note": '他说:"好,\n收到"'}])

    assert out.getvalue().startswith(BOM)
    [row] = csv.DictReader(io.StringIO(out.getvalue().removeprefix(BOM), newline=""))
    assert row == {"at": "2026-03-09T09:00:00+00:00", "note": '他说:"好,\n收到"', "gone": ""}
