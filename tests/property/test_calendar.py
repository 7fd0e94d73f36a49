"""Working time against a walker that asks of every minute whether the office is open."""

from datetime import date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.domain.calendar import add_working_time, stretches, working_time
from schemas.calendar import Calendar, Day

MINUTE, ZERO = timedelta(minutes=1), timedelta(0)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def a_day(at: date, works: bool, hours: list[tuple[time, time]] | None) -> Day:
    return Day(date=at, works=works, name="演示", name_en="demo", hours=hours if works else None)


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[time, time]]:
    """Return one to three spans of whole minutes, in order."""
    edges = sorted(draw(st.sets(st.integers(0, 24 * 60 - 1), min_size=2, max_size=6)))
    moments = [time(m // 60, m % 60) for m in edges[: len(edges) // 2 * 2]]
    return list(zip(moments[::2], moments[1::2], strict=True))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    dates = st.dates(date(2020, 1, 1), date(2020, 3, 31))
    days = draw(st.dictionaries(dates, st.tuples(st.booleans(), st.none() | spans()), max_size=12))
    return Calendar(
        zone="Asia/Shanghai",
        weekdays=sorted(draw(st.sets(st.integers(1, 7), min_size=1))),
        hours=draw(spans()),
        first_year=2020,
        announced=[2020],
        days=[a_day(at, *days[at]) for at in sorted(days)],
    )


def is_open(calendar: Calendar, at: datetime) -> bool:
    """Tell whether the office is open at a minute: by the rules as one would say them."""
    local = at.astimezone(ZoneInfo(calendar.zone))
    hours = calendar.hours if local.isoweekday() in calendar.weekdays else []
    for day in calendar.days:
        if day.date == local.date():
            hours = (day.hours or calendar.hours) if day.works else []
    return any(start <= local.time() < end for start, end in hours)


instants = st.integers(0, 80 * 24 * 60).map(lambda m: datetime(2020, 1, 1, tzinfo=SHANGHAI) + m * MINUTE)
minutes = st.integers(1, 3 * 24 * 60).map(lambda m: m * MINUTE)


@settings(max_examples=150, deadline=None)
@given(calendar=calendars(), start=instants, budget=st.integers(1, 6 * 60).map(lambda m: m * MINUTE))
def test_a_deadline_is_where_a_walker_arrives(calendar: Calendar, start: datetime, budget: timedelta) -> None:
    """Minute by minute, counting the open ones, one comes to the same instant."""
    at, left = start, budget
    for _ in range(60 * 24 * 60):
        left -= MINUTE * is_open(calendar, at)
        at += MINUTE
        if left == ZERO:
            break
    else:
        return  # hours of a few minutes a week: too far to walk

    assert add_working_time(calendar, start, budget) == at


@settings(max_examples=150, deadline=None)
@given(calendar=calendars(), since=instants, span=minutes)
def test_time_between_is_what_a_walker_counts(calendar: Calendar, since: datetime, span: timedelta) -> None:
    """Minute by minute."""
    walked = sum((is_open(calendar, since + n * MINUTE) for n in range(span // MINUTE)), start=0)

    assert working_time(calendar, since, since + span) == walked * MINUTE


@given(calendar=calendars(), start=instants, first=minutes, second=minutes)
def test_budgets_add_up(calendar: Calendar, start: datetime, first: timedelta, second: timedelta) -> None:
    """One budget after another ends where both together end."""
    after_first = add_working_time(calendar, start, first)

    assert add_working_time(calendar, after_first, second) == add_working_time(calendar, start, first + second)
    assert working_time(calendar, start, after_first) == first


@given(calendar=calendars(), starts=st.tuples(instants, instants), budgets=st.tuples(minutes, minutes))
def test_later_starts_and_larger_budgets_never_end_earlier(
    calendar: Calendar, starts: tuple[datetime, datetime], budgets: tuple[timedelta, timedelta]
) -> None:
    """Monotone in both."""
    (early, late), (small, large) = sorted(starts), sorted(budgets)

    assert add_working_time(calendar, early, small) <= add_working_time(calendar, late, small)
    assert add_working_time(calendar, early, small) <= add_working_time(calendar, early, large)


@given(calendar=calendars(), start=instants, budget=st.integers(1, 10**9).map(lambda us: timedelta(microseconds=us)))
def test_a_deadline_lies_in_working_hours(calendar: Calendar, start: datetime, budget: timedelta) -> None:
    """The microsecond before a deadline is worked, whatever the budget."""
    end = add_working_time(calendar, start, budget)

    assert is_open(calendar, end - timedelta(microseconds=1))


@given(calendar=calendars(), since=instants, span=minutes)
def test_stretches_fill_the_time_and_count_what_is_worked(calendar: Calendar, since: datetime, span: timedelta) -> None:
    """They follow one another without gap, neighbours differ, and those that count add up to the working time."""
    found = list(stretches(calendar, since, since + span))

    assert [since, *(s.until for s in found)] == [*(s.since for s in found), since + span]
    assert all((a.why, a.day) != (b.why, b.day) for a, b in pairwise(found))
    assert sum((s.until - s.since for s in found if s.counted), ZERO) == working_time(calendar, since, since + span)
