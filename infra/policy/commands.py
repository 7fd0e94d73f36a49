"""`gridwatch policy …`: bring holidays in, check a policy before it counts, try it on the past."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import cyclopts
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from infra.case.ledger import every_case
from infra.policy import check as checks
from infra.settings import Settings
from infra.show import Json, show
from pipelines.domain.backtest import Comparison, Dimension, Line
from pipelines.domain.backtest import backtest as compare
from schemas.calendar import HOLIDAYS_FILE, Day, Holidays, public_holidays

app = cyclopts.App(name="policy", help="SLA policy and calendar of the district.")
Year = Annotated[int, Parameter(validator=Number(gte=1990, lte=2100))]

_err = Console(stderr=True, highlight=False)


@app.command
def holidays(*, first: Year = 2019, last: Year = 2030, country: str = "CN") -> None:
    """Write holidays.toml from the `holidays` library: public holidays and make-up workdays.

    Run it when the next year has been announced and the library has been updated; the worker takes the new
    calendar when it starts, and cases that are open keep theirs.

    Args:
        first: first year of the calendar; no clock can start before it.
        last: last year; later ones have weekends alone, and are provisional like every year not announced.
        country: ISO 3166 code.
    """
    found = public_holidays(country, first, last)
    path = Settings().district_dir / HOLIDAYS_FILE
    path.write_text(holidays_toml(found), encoding="utf-8")
    provisional = ", ".join(str(year) for year in range(first, last + 1) if year not in found.announced)
    _err.print(f"{path.name}: {len(found.days)} days of {found.source}; provisional: {provisional or 'none'}")


@app.command
def check(file: Path, *, json: Json = False) -> None:
    """Say what is wrong with a policy.toml, with line and field; exit 1 when anything is.

    Args:
        file: read as the policy of the district, with its items.
        json: print one object a fault.
    """
    found = checks.check(file, Settings().district_dir)
    if found or json:
        show([msgspec.to_builtins(fault) for fault in found], as_json=json)
    _err.print(f"{file.name}: {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
    sys.exit(1 if found else 0)


@app.command
def backtest(
    file: Path,
    *,
    since: Annotated[datetime, Parameter(name="--from")],
    until: Annotated[datetime, Parameter(name="--to")],
    json: Json = False,
) -> None:
    """Run the clocks of the ledger again under another policy, and compare the breaches.

    People are taken to have acted when they did. Clocks that were started in the span count; each case is
    compared with the policy it was opened under. Lines after the span are not read into it, so the same
    question has the same answer for ever.

    Args:
        file: a policy.toml, read with the district's items and calendar.
        since: first instant; without a zone, in the district's.
        until: instant after the last.
        json: print one object.
    """
    settings = Settings()
    candidate = checks.candidate(file, settings.district_dir)
    zone = ZoneInfo(candidate.calendar.zone if candidate.calendar else "UTC")
    first, last = (at if at.tzinfo else at.replace(tzinfo=zone) for at in (since, until))
    ledger, frozen = every_case(settings)
    found = compare(ledger, frozen, candidate, first, last)
    if json:
        show(msgspec.to_builtins(found), as_json=True)
    else:
        _show_comparison(found)


def _show_comparison(found: Comparison) -> None:
    show([_row(line) for line in found.lines], as_json=False)
    left_out = f", {found.unknown} left out: their item is not in the catalogue" if found.unknown else ""
    _err.print(f"{found.cases} cases, clocks started in [{found.since}, {found.until}){left_out}")


def _row(line: Line) -> dict[str, str | int]:
    of = "climbs to" if line.dimension is Dimension.LEVEL else line.dimension.value
    counts = {"clocks": "" if line.dimension is Dimension.LEVEL else line.clocks, "recorded": line.recorded}
    return (
        {"of": of, "key": line.key}
        | counts
        | {
            "before": line.before,
            "after": line.after,
            "change": f"{line.after - line.before:+d}" if line.after != line.before else "",
        }
    )


def holidays_toml(content: Holidays) -> str:
    """Return *content* as `holidays.toml`, one day a line."""
    days = "".join(f"    {_inline(day)},\n" for day in content.days)
    return (
        "# 由 gridwatch policy holidays 生成,请勿手改;本地例外写在 calendar.toml。\n"
        "# Written by `gridwatch policy holidays`; what differs here goes into calendar.toml.\n"
        f"source = {_text(content.source)}\n"
        f"first_year = {content.first_year}\n"
        f"announced = {content.announced}\n"
        f"days = [\n{days}]\n"
    )


def _inline(day: Day) -> str:
    works = "true" if day.works else "false"
    return f"{{ date = {day.date}, works = {works}, name = {_text(day.name)}, name_en = {_text(day.name_en)} }}"


def _text(text: str) -> str:
    """Return *text* as a TOML basic string, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)
