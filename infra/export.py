"""Answers of the warehouse as files for other programs: CSV, Parquet, XLSX.

A spreadsheet takes a text that begins with `=`, `+`, `-` or `@` for a formula, and what residents write must not become
one on an analyst's desk. In CSV such a text gets an apostrophe in front (OWASP's rule; numbers stay numbers); in XLSX
every text is stored as text; Parquet has no formulas.
"""

import csv
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import xlsxwriter
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from clickhouse_connect.driver.query import QueryResult

from infra.clickhouse import fault
from infra.spreadsheet import cell
from schemas.errors import SetupError

_SHEET_ROWS: Final = 1_048_576  # of XLSX, headings included


class Format(StrEnum):
    """What a file of rows is."""

    CSV = "csv"
    PARQUET = "parquet"
    XLSX = "xlsx"


def export(client: Client, query: str, kind: Format, path: Path) -> int:
    """Write the answer to *query* to *path*, whole or not at all, and return how many rows it has.

    CSV is UTF-8 with a byte-order mark, for spreadsheets; instants are RFC 3339 there, and UTC without zone in XLSX.

    Raises:
        SetupError: the query is refused, or has more rows than a sheet.
        UnavailableError: the warehouse does not answer.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        rows = _WRITERS[kind](client, query, partial)
        partial.replace(path)
    except Error as error:
        raise fault(error) from error
    except OSError as error:
        raise SetupError(str(path), error.strerror or str(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _parquet(client: Client, query: str, path: Path) -> int:
    table = client.query_arrow(query, use_strings=True)
    pq.write_table(table, path, compression="zstd")
    return int(table.num_rows)


def _csv(client: Client, query: str, path: Path) -> int:
    answer = _utc(client, query)
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([cell(name) for name in answer.column_names])
        writer.writerows([cell(_plain(value)) for value in row] for row in answer.result_rows)
    return len(answer.result_rows)


def _xlsx(client: Client, query: str, path: Path) -> int:
    answer = _utc(client, query)
    if len(answer.result_rows) >= _SHEET_ROWS:
        raise SetupError("xlsx", f"{len(answer.result_rows)} rows: a sheet holds {_SHEET_ROWS - 1}; CSV or Parquet do")
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(path, {**options, "default_date_format": "yyyy-mm-dd hh:mm:ss"}) as book:
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        for number, row in enumerate([tuple(answer.column_names), *answer.result_rows]):
            for place, value in enumerate(row):
                _put(sheet, number, place, value)
    return len(answer.result_rows)


def _put(sheet: Any, row: int, column: int, value: Any) -> None:
    """Write one cell; whatever Excel has no type for is text."""
    if isinstance(value, datetime):
        sheet.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None))
    elif isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float) and abs(value) < 1e15:  # beyond, Excel rounds: ids must not
        sheet.write_number(row, column, value)
    elif value is not None:
        sheet.write_string(row, column, str(_plain(value)))


def _utc(client: Client, query: str) -> QueryResult:
    return client.query(query, tz_mode="aware")


def _plain(value: Any) -> Any:
    """Return *value* as CSV can hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Sequence | dict) and not isinstance(value, str | bytes):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


_WRITERS: Final[dict[Format, Callable[[Client, str, Path], int]]] = {
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
    Format.XLSX: _xlsx,
}
