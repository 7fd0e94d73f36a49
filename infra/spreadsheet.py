"""CSV that spreadsheets open without running anything of it.

A cell that begins like a formula is one to Excel, LibreOffice and WPS, whoever wrote the text (OWASP,
"CSV Injection"): an apostrophe in front makes it text again.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TextIO

BOM: Final = "\ufeff"  # without it Excel takes UTF-8 for the system's code page
# Full-width signs too: some input methods write them, and some spreadsheets take them.
_STARTS_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: Any) -> str:
    """Return *value* as the text of one cell: nothing for None, RFC 3339 for an instant, never a formula."""
    if value is None:
        return ""
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    is_number = isinstance(value, int | float | Decimal)
    return f"'{text}" if text.lstrip(" ").startswith(_STARTS_FORMULA) and not is_number else text


def write_csv(out: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write *rows* below a line of *columns*, as RFC 4180 has it; a column that a row lacks is empty."""
    out.write(BOM)
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
