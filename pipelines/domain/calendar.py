"""Working time: how much of it lies between two instants, and when a budget of it is used up. Pure.

    Fri 09:00 ── 12:00    14:00 ── 18:00    Sat, Sun    Mon 09:00 ──
    counted      lunch    counted           weekend     counted

A calendar is compiled once into a table of its working spans with the time worked up to each, so
a question is one bisection. Both ends of a span are its own: a budget ends at 18:00 sharp rather
than at 9:00 of the next working day. Instants are aware, answers are in UTC, to the microsecond.

Years that nobody has announced follow the week's pattern and the holidays known so far, and are
called provisional.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from schemas.calendar import Calendar, Day, Span
from schemas.errors import RecordError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ONE_DAY: Final = timedelta(days=1)


class Why(StrEnum):
    """Why a stretch of time counts as working time, or does not."""

    OFFICE_HOURS = "office_hours"  # 工作时间
    MAKE_UP = "make_up"  # 调休上班
    LUNCH = "lunch"  # 午休
    OFF_HOURS = "off_hours"  # 非工作时间
    WEEKEND = "weekend"  # 双休日
    HOLIDAY = "holiday"  # 节假日


class Stretch(Struct, frozen=True, kw_only=True):
    """A half-open interval that counts throughout, or throughout does not."""

    since: datetime
    until: datetime
    counted: bool
    why: Why
    day: Day | None = None  # the holiday or make-up workday it belongs to
    is_provisional: bool = False  # in a year that nobody has announced


def add_working_time(calendar: Calendar, start: datetime, budget: timedelta) -> datetime:
    """Return the first instant, not before *start*, at which *budget* of working time has passed.

    Raises:
        RecordError: *start* lies before the calendar's first year.
    """
    table, since = _table(calendar), (start - _EPOCH) // _MICROSECOND
    end = table.reach(table.worked(since) + budget // _MICROSECOND)
    return _EPOCH + timedelta(microseconds=max(since, end))


def working_time(calendar: Calendar, since: datetime, until: datetime) -> timedelta:
    """Return how much working time lies in [*since*, *until*).

    Raises:
        RecordError: *since* lies before the calendar's first year.
    """
    table = _table(calendar)
    first, last = ((at - _EPOCH) // _MICROSECOND for at in (since, until))
    return timedelta(microseconds=table.worked(last) - table.worked(first))


def stretches(calendar: Calendar, since: datetime, until: datetime) -> Iterator[Stretch]:
    """Yield [*since*, *until*) cut where counting starts, ends or changes its reason; no two neighbours are alike."""
    zone, open_stretch = ZoneInfo(calendar.zone), None
    at = since.astimezone(zone).date()
    while at <= until.astimezone(zone).date():
        for piece in _cut_day(calendar, at, zone):
            piece_since, piece_until = max(piece.since, since), min(piece.until, until)
            if piece_since >= piece_until:
                continue
            if open_stretch is not None and _alike(open_stretch, piece):
                open_stretch = replace(open_stretch, until=piece_until)
                continue
            if open_stretch is not None:
                yield open_stretch
            open_stretch = replace(piece, since=piece_since, until=piece_until)
        at += _ONE_DAY
    if open_stretch is not None:
        yield open_stretch


def _alike(a: Stretch, b: Stretch) -> bool:
    return (a.why, a.day and a.day.name, a.is_provisional) == (b.why, b.day and b.day.name, b.is_provisional)


def _cut_day(calendar: Calendar, at: date, zone: ZoneInfo) -> Iterator[Stretch]:
    """Yield one local day from midnight to midnight."""
    day, provisional = _days(calendar).get(at), at.year not in calendar.announced
    hours = _hours(calendar, at)
    edges = [_local(at, zone), *_edges(hours, at, zone), _local(at + _ONE_DAY, zone)]
    for index, (since, until) in enumerate(pairwise(edges)):
        counted = index % 2 == 1
        if since >= until:
            continue
        if counted:
            why = Why.OFFICE_HOURS if at.isoweekday() in calendar.weekdays else Why.MAKE_UP
        elif hours:
            why = Why.LUNCH if 0 < index < len(edges) - 2 else Why.OFF_HOURS
        else:
            why = Why.WEEKEND if day is None else Why.HOLIDAY
        named = day if counted or not hours else None
        yield Stretch(since=since, until=until, counted=counted, why=why, day=named, is_provisional=provisional)


def _hours(calendar: Calendar, at: date) -> list[Span]:
    """Return the working spans of a local date."""
    day = _days(calendar).get(at)
    if day is not None:
        return (day.hours or calendar.hours) if day.works else []
    return calendar.hours if at.isoweekday() in calendar.weekdays else []


def _edges(hours: list[Span], at: date, zone: ZoneInfo) -> Iterator[datetime]:
    return (datetime.combine(at, moment, zone).astimezone(UTC) for span in hours for moment in span)


def _local(at: date, zone: ZoneInfo) -> datetime:
    return datetime(at.year, at.month, at.day, tzinfo=zone).astimezone(UTC)


@lru_cache(64)  # of policies that open cases hold
def _days(calendar: Calendar) -> dict[date, Day]:
    return {day.date: day for day in calendar.days}


@lru_cache(64)
def _table(calendar: Calendar) -> "_Table":
    return _Table(calendar)


class _Table:
    """The working spans of a calendar, in microseconds since 1970; grows by years as they are asked for."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar, self._zone = calendar, ZoneInfo(calendar.zone)
        self._starts: list[int] = []
        self._lengths: list[int] = []
        self._before: list[int] = []  # worked before each span
        self._after: list[int] = []  # worked up to its end
        self._next_year = calendar.first_year
        self._floor = self._covered = self._microseconds(date(calendar.first_year, 1, 1))

    def worked(self, at: int) -> int:
        """Return the working time from the table's first instant to *at*."""
        if at < self._floor:
            raise RecordError("before_calendar", f"the calendar begins in {self._calendar.first_year}")
        while at >= self._covered:
            self._cover()
        span = bisect_right(self._starts, at) - 1
        return self._before[span] + min(at - self._starts[span], self._lengths[span]) if span >= 0 else 0

    def reach(self, total: int) -> int:
        """Return the first instant up to which *total* has been worked."""
        while not self._after or total > self._after[-1]:
            self._cover()
        span = bisect_left(self._after, total)
        return self._starts[span] + total - self._before[span]

    def _cover(self) -> None:
        """Add one more year."""
        at, worked = date(self._next_year, 1, 1), self._after[-1] if self._after else 0
        while at.year == self._next_year:
            edges = [(edge - _EPOCH) // _MICROSECOND for edge in _edges(_hours(self._calendar, at), at, self._zone)]
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                self._starts.append(start)
                self._lengths.append(end - start)
                self._before.append(worked)
                worked += end - start
                self._after.append(worked)
            at += _ONE_DAY
        self._next_year += 1
        self._covered = self._microseconds(at)

    def _microseconds(self, at: date) -> int:
        return (_local(at, self._zone) - _EPOCH) // _MICROSECOND
