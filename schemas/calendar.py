"""When offices work: data of a district, compiled to one value that travels inside the policy.

`calendar.toml` is a person's: zone, hours, days that differ here. `holidays.toml` is written by
`gridwatch policy holidays` from the `holidays` library: public holidays and make-up workdays
(调休). The library is not asked when a process starts, so what counts as a working day changes
only when somebody changes a file, and is hashed with the policy.
"""

from collections.abc import Iterable, Iterator
from datetime import date, time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

from schemas.district_files import load_toml
from schemas.errors import SetupError

CALENDAR_FILE, HOLIDAYS_FILE = "calendar.toml", "holidays.toml"
Span = tuple[time, time]


class Day(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A date on which the week's pattern does not hold."""

    date: date
    works: Annotated[bool, Meta(description="true: a make-up workday; false: a day off")]
    name: str
    name_en: str
    hours: Annotated[list[Span] | None, Meta(description="of this day alone, e.g. a half day")] = None


class CalendarFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `calendar.toml`."""

    source: Annotated[str, Meta(min_length=1, description="where the hours come from")]
    zone: Annotated[str, Meta(description="IANA time zone, e.g. Asia/Shanghai")]
    weekdays: Annotated[
        list[Annotated[int, Meta(ge=1, le=7)]], Meta(min_length=1, description="ISO: 1 Monday … 7 Sunday")
    ]
    hours: Annotated[
        list[Span], Meta(min_length=1, description="local; what lies between two spans is the lunch break")
    ]
    days: Annotated[list[Day], Meta(description="that differ here; they win over holidays.toml")] = []


class Holidays(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `holidays.toml`."""

    source: str
    first_year: Annotated[int, Meta(ge=1990, le=2100)]
    announced: Annotated[list[int], Meta(description="years whose make-up workdays the State Council has published")]
    days: list[Day]


class Calendar(Struct, frozen=True, kw_only=True, eq=False):
    """Which hours count as working time, from the start of `first_year` on. Compared by identity."""

    zone: str
    weekdays: list[int]
    hours: list[Span]
    first_year: int
    announced: Annotated[list[int], Meta(description="years that are settled; every other one is provisional")]
    days: list[Day]


def load_calendar(directory: Path) -> Calendar:
    """Read `calendar.toml` and `holidays.toml` of *directory*.

    Raises:
        SetupError: a file is missing or wrong; the text names file and field.
    """
    own, public = load_toml(directory / CALENDAR_FILE, CalendarFile), load_toml(directory / HOLIDAYS_FILE, Holidays)
    problems = [*_problems(own, public)]
    if problems:
        raise SetupError(CALENDAR_FILE, "; ".join(problems))
    days = {day.date: day for day in [*public.days, *own.days]}
    return Calendar(
        zone=own.zone,
        weekdays=sorted(own.weekdays),
        hours=own.hours,
        first_year=public.first_year,
        announced=sorted(public.announced),
        days=[days[at] for at in sorted(days)],
    )


def _problems(own: CalendarFile, public: Holidays) -> Iterator[str]:
    try:
        ZoneInfo(own.zone)
    except (ZoneInfoNotFoundError, ValueError):
        yield f"zone: {own.zone!r} is no IANA time zone"
    for place, hours in [("hours", own.hours), *((f"days {day.date}", day.hours or []) for day in own.days)]:
        if not _is_ascending(hours):
            yield f"{place}: spans must not be empty, overlap or go back"
    yield from (f"days {day.date}: has hours but does not work" for day in own.days if day.hours and not day.works)
    dates = [day.date for day in own.days]
    yield from (f"days {at}: appears twice" for at in sorted({at for at in dates if dates.count(at) > 1}))
    yield from (f"days {at}: is before {public.first_year}" for at in dates if at.year < public.first_year)


def _is_ascending(hours: Iterable[Span]) -> bool:
    ends = [end for span in hours for end in span]
    return all(a < b for a, b in pairwise(ends))


def public_holidays(country: str, first_year: int, last_year: int) -> Holidays:
    """Return what the `holidays` library knows of the years asked for.

    A year without a single make-up workday has not been announced: the library then has the
    statutory days alone, as the law lays them down.
    """
    import holidays as library  # noqa: PLC0415 - 0.2 s that no process needs

    years = range(first_year, last_year + 1)
    zh, en = (library.country_holidays(country, years=years, language=language) for language in ("zh_CN", "en_US"))
    announced = [year for year in years if year in getattr(zh, "special_public_holidays", {})]
    off = [
        Day(date=at, works=False, name=zh[at], name_en=en[at])
        for at in sorted(zh)
        if first_year <= at.year <= last_year
    ]
    make_up = [
        Day(date=at, works=True, name="调休上班", name_en="make-up workday")
        for at in sorted(zh.weekend_workdays)
        if first_year <= at.year <= last_year
    ]
    days = sorted([*off, *make_up], key=lambda day: day.date)
    source = f"holidays {version('holidays')}, {country}"
    return Holidays(source=source, first_year=first_year, announced=announced, days=days)
