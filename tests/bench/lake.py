"""A lake of any size, made inside ClickHouse: twenty million rows take a minute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from infra.migrate import split

_STATEMENTS: Final = Path(__file__).with_suffix(".sql")
_ROWS_A_CASE: Final = 12  # eight ledger lines, two versions of the case, a report, an alert


def parameters(rows: int, until: str = "2026-11-20 00:00:00.000000") -> dict[str, Any]:
    """Return what makes a lake of about *rows* rows up to *until*: three of eight are cases', the rest seconds."""
    cases = rows // 32
    return {"cases": cases, "seconds": rows - cases * _ROWS_A_CASE, "until": until}


def fill(run: Callable[[str, dict[str, Any]], object], values: dict[str, Any]) -> None:
    """Insert the lake by *run*, which executes one statement with its parameters."""
    for statement in split(_STATEMENTS.read_text(encoding="utf-8")):
        run(statement, values)
