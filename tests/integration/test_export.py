"""Answers as files: what was asked is in them, and no text in them is a formula."""

import csv
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from clickhouse_connect.driver import Client

from infra.clickhouse import Role, connect
from infra.export import Format, export
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, SetupError
from tests.conftest import environment
from tests.warehouse import running_warehouse

_DANGEROUS = "=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", " =1+1", "＝1+1", "http://x.example/"
_QUERY = (
    "SELECT text, toInt64(-7) AS n, 0.5 AS ratio, NULL AS nothing, toDateTime64('2026-03-09 09:00:00', 3, 'UTC') AS at,"
    " ['a', '乱'] AS many FROM (SELECT arrayJoin({texts:Array(String)}) AS text)"
)


@pytest.fixture(scope="module")
def settings_of(settings: Settings) -> Iterator[Settings]:
    """A warehouse."""
    with running_warehouse(settings):
        yield settings


@pytest.fixture
def reader(settings_of: Settings) -> Iterator[Client]:
    """An analyst."""
    with closing(connect(settings_of, Role.READER)) as client:
        yield client


def _asked() -> str:
    texts = ", ".join("'" + text.replace("'", "\\'") + "'" for text in _DANGEROUS)
    return _QUERY.replace("{texts:Array(String)}", f"[{texts}]")


def test_csv_holds_texts_that_no_spreadsheet_computes(reader: Client, tmp_path: Path) -> None:
    """An apostrophe before what would be a formula; a negative number is a number."""
    path = tmp_path / "a.csv"
    assert export(reader, _asked(), Format.CSV, path) == len(_DANGEROUS)

    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig", newline="")))
    assert [row["text"] for row in rows] == [*(f"'{text}" for text in _DANGEROUS[:-1]), _DANGEROUS[-1]]
    assert rows[0] | {"text": ""} == {
        "text": "", "n": "-7", "ratio": "0.5", "nothing": "", "at": "2026-03-09T09:00:00+00:00", "many": '["a", "乱"]'
    }  # fmt: skip


def test_xlsx_holds_no_formula_and_no_link(reader: Client, tmp_path: Path) -> None:
    """Texts are texts, numbers numbers, instants dates."""
    path = tmp_path / "a.xlsx"
    assert export(reader, _asked(), Format.XLSX, path) == len(_DANGEROUS)

    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        assert not [name for name in book.namelist() if "externalLink" in name or "rels/sheet1" in name]
    assert "<f>" not in sheet
    assert "<f " not in sheet
    assert "<v>-7</v>" in sheet
    assert "=cmd|" in sheet
    assert "<v>46090.375</v>" in sheet  # 2026-03-09 09:00 in Excel's days


def test_parquet_keeps_types_and_texts_as_they_are(reader: Client, tmp_path: Path) -> None:
    """Nobody computes a Parquet file: nothing is changed in it."""
    path = tmp_path / "a.parquet"
    export(reader, _asked(), Format.PARQUET, path)

    table = pq.read_table(path)
    assert table.column("text").to_pylist() == list(_DANGEROUS)
    assert table.column("n").to_pylist() == [-7] * len(_DANGEROUS)
    assert str(table.schema.field("at").type) == "timestamp[ms, tz=UTC]"


def test_a_refused_query_leaves_no_file(reader: Client, tmp_path: Path) -> None:
    """Nor a half-written one, and one that was there before stays."""
    path = tmp_path / "a.csv"
    path.write_text("before")

    with pytest.raises(SetupError):
        export(reader, "SELECT nothing FROM nowhere", Format.CSV, path)

    assert [found.name for found in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text() == "before"


def test_the_command_writes_what_the_ending_says(settings_of: Settings, tmp_path: Path) -> None:
    """And says so when it cannot tell."""
    path = tmp_path / "one.csv"
    done = _gridwatch(settings_of, "SELECT 1 AS one", "--out", str(path))
    assert done == 0
    assert path.read_text(encoding="utf-8-sig") == "one\n1\n"
    assert _gridwatch(settings_of, "SELECT 1", "--out", str(tmp_path / "one")) == EXIT_SETUP
    assert _gridwatch(settings_of, "SELECT 1", "--format", "csv") == EXIT_SETUP


def _gridwatch(settings: Settings, *arguments: str) -> int:
    command = [sys.executable, "-m", "infra.cli", "sql", *arguments]
    return subprocess.run(command, env=environment(settings), check=False, timeout=60).returncode
