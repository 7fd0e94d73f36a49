"""`gridwatch policy …`: bring holidays in, check a policy before it counts, try it on the past."""

import json
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from infra.settings import Settings
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
