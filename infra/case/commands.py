"""`gridwatch case …`: look at one case, and take ledgers out."""

import json as js
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO
from zoneinfo import ZoneInfo

import cyclopts
import msgspec
from cyclopts import Parameter
from rich.console import Console

from infra.case.ledger import book, explanation
from infra.case.ledger import reporter as who_reported
from infra.case.words import text
from infra.settings import Settings
from infra.show import Json, out, show
from infra.spreadsheet import write_csv
from pipelines.domain.ledger import Entry
from schemas.calendar import load_calendar
from schemas.cases import LedgerEvent
from schemas.errors import SetupError

app = cyclopts.App(name="case", help="One case: why its deadlines are when they are; its ledger.")
_err = Console(stderr=True, highlight=False)
_COLUMNS = (*LedgerEvent.__struct_fields__, "seal")


@app.command
def explain(case: str, *, lang: Literal["zh", "en"] = "zh", json: Json = False) -> None:
    """Show every interval of every clock of a case: counted or not, and why, to the second.

    Args:
        case: its number.
        lang: of the text.
        json: print one object; its codes are the same in every language.
    """
    found = explanation(Settings(), case)
    if json:
        show(msgspec.to_builtins(found), as_json=True)
    else:
        out.print(text(found, lang), end="", soft_wrap=True, markup=False)


@app.command
def reporter(case: str, *, json: Json = False) -> None:
    """Show who reported a case and, when it is private, what they said and added; for who may read `reporters.v1`.

    Args:
        case: its number.
        json: print one object.
    """
    found, added = who_reported(Settings(), case)
    show(msgspec.to_builtins(found) | {"added": added}, as_json=json)


@app.command
def export(
    case: str | None = None,
    *,
    since: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: Annotated[datetime | None, Parameter(name="--to")] = None,
    format: Literal["jsonl", "csv"] = "jsonl",
    output: Path | None = None,
) -> None:
    """Take the ledger out: of one case, of a span of time, or of all; exit 1 when a line is missing or changed.

    Each line carries a seal over itself and every line of its case before it, so two exports can be held
    against each other: nothing was changed as long as the seals they share are the same.

    Args:
        case: its number; without it, every case.
        since: only lines from then on; without a zone, in the district's.
        until: only lines before then.
        format: csv opens in spreadsheets, and no cell of it is a formula.
        output: file to write; without it, standard output.
    """
    settings = Settings()
    found = book(settings, case)
    zone = ZoneInfo(load_calendar(settings.district_dir).zone)
    first, last = (at if at is None or at.tzinfo else at.replace(tzinfo=zone) for at in (since, until))
    entries = [
        entry
        for entry in found.entries
        if (first is None or first <= entry.line.at) and (last is None or entry.line.at < last)
    ]
    try:
        with output.open("w", encoding="utf-8", newline="") if output else nullcontext(sys.stdout) as sink:
            _write(sink, entries, format)
    except OSError as error:
        if output is None:
            raise
        raise SetupError(str(output), error.strerror or "cannot be written") from error
    for finding in found.findings:
        _err.print(f"{finding.case_id} line {finding.number}: {finding.breach}")
    _err.print(f"{len(entries)} lines, {len(found.findings) or 'no'} finding{'' if len(found.findings) == 1 else 's'}")
    sys.exit(1 if found.findings else 0)


def _write(sink: TextIO, entries: Sequence[Entry], form: str) -> None:
    rows = (_row(entry) for entry in entries)
    if form == "csv":
        write_csv(sink, _COLUMNS, rows)
    else:
        sink.writelines(js.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(entry.line)
    return row | {"seal": entry.seal}
