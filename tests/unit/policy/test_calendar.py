"""The shipped calendar: facts of the State Council's notices, and what is made of them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from infra.policy.commands import holidays_toml
from pipelines.domain.calendar import Why, add_working_time, stretches, working_time
from schemas.calendar import HOLIDAYS_FILE, load_calendar, public_holidays
from schemas.errors import RecordError, SetupError
from tests.builders import DISTRICT

CALENDAR = load_calendar(DISTRICT)
SHANGHAI = ZoneInfo("Asia/Shanghai")
_NAMES = 'name = "值班"\nname_en = "on duty"\n'
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def local(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    ("at", "worked_h", "why"),
    [
        (date(2020, 1, 19), 7, Why.MAKE_UP),  # a Sunday that is a workday
        (date(2020, 1, 29), 0, Why.HOLIDAY),  # 正月初五, the article's second incident
        (date(2020, 1, 31), 0, Why.HOLIDAY),  # the holiday was extended that year
        (date(2020, 2, 3), 7, Why.OFFICE_HOURS),
        (date(2020, 2, 16), 0, Why.WEEKEND),  # the article's first incident
        (date(2026, 2, 14), 7, Why.MAKE_UP),
        (date(2026, 10, 7), 0, Why.HOLIDAY),
        (date(2026, 10, 10), 7, Why.MAKE_UP),
    ],
)
def test_which_days_are_worked(at: date, worked_h: int, why: Why) -> None:
    """Weekends, holidays and make-up workdays as the notices of their years have them."""
    midnight = local(at.year, at.month, at.day)

    assert working_time(CALENDAR, midnight, midnight + DAY) == worked_h * HOUR
    assert why in {stretch.why for stretch in stretches(CALENDAR, midnight, midnight + DAY)}


def test_lunch_is_not_worked() -> None:
    """A budget that meets the lunch break goes on after it."""
    assert add_working_time(CALENDAR, local(2026, 3, 9, 11), 2 * HOUR) == local(2026, 3, 9, 15)


def test_a_budget_may_end_when_the_office_does() -> None:
    """It ends at 18:00 sharp, not at nine of the next working day."""
    assert add_working_time(CALENDAR, local(2026, 3, 9, 9), 7 * HOUR) == local(2026, 3, 9, 18)


def test_a_year_not_announced_is_provisional() -> None:
    """Years with make-up workdays are settled; what comes after is shown as open."""
    new_year = local(2027, 1, 1)
    found = list(stretches(CALENDAR, new_year - DAY, new_year + DAY))

    assert {s.is_provisional for s in found if s.until <= new_year} == {False}
    assert {s.is_provisional for s in found if s.since >= new_year} == {True}


def test_a_year_beyond_the_files_has_its_weeks() -> None:
    """Far budgets end somewhere, in a year that is provisional."""
    end = add_working_time(CALENDAR, local(2026, 3, 9), timedelta(hours=7 * 261 * 10))

    assert end.year > 2035
    assert next(stretches(CALENDAR, end, end + HOUR)).is_provisional


def test_nothing_is_counted_before_the_calendar() -> None:
    """A time that the calendar does not know is an error, never a guess."""
    with pytest.raises(RecordError, match="2019"):
        add_working_time(CALENDAR, datetime(2018, 12, 31, tzinfo=UTC), HOUR)


def test_holidays_are_what_the_library_says() -> None:
    """When an update of the library brings a new year, this says so: run `gridwatch policy holidays`."""
    assert (DISTRICT / HOLIDAYS_FILE).read_text(encoding="utf-8") == holidays_toml(public_holidays("CN", 2019, 2030))


def an_overlay(directory: Path, text: str) -> Path:
    for name in ("calendar.toml", HOLIDAYS_FILE):
        (directory / name).write_text((DISTRICT / name).read_text(encoding="utf-8"), encoding="utf-8")
    with (directory / "calendar.toml").open("a", encoding="utf-8") as file:
        file.write(text)
    return directory


def test_a_district_has_its_own_days(tmp_path: Path) -> None:
    """A day of calendar.toml wins over the week and over the public holiday, with hours of its own."""
    own = f"[[days]]\ndate = 2026-10-01\nworks = true\nhours = [[09:00:00, 12:00:00]]\n{_NAMES}"
    calendar = load_calendar(an_overlay(tmp_path, own))

    assert working_time(calendar, local(2026, 10, 1), local(2026, 10, 2)) == 3 * HOUR
    assert working_time(CALENDAR, local(2026, 10, 1), local(2026, 10, 2)) == 0 * HOUR


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"Asia/Shanghai"', '"Asia/Gaoling"', "zone: .* no IANA"),
        ("14:00:00, 18:00:00", "11:00:00, 18:00:00", "hours: spans must not"),
        ("weekdays = [1", "weekdays = [0", r"weekdays\[0\]"),
        ("weekdays = [1, 2, 3, 4, 5]", "weekdays = []", "weekdays"),
        ("", f"[[days]]\ndate = 2026-01-01\nworks = false\nhours = [[09:00:00, 10:00:00]]\n{_NAMES}", "does not work"),
        ("", f"[[days]]\ndate = 2026-01-01\nworks = false\n{_NAMES}" * 2, "2026-01-01: appears twice"),
        ("", f"[[days]]\ndate = 2016-01-01\nworks = false\n{_NAMES}", "2016-01-01: is before 2019"),
    ],
)
def test_a_wrong_calendar_is_refused_with_the_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    """The text names the field or the day."""
    an_overlay(tmp_path, "" if old else new)
    path = tmp_path / "calendar.toml"
    if old:
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    with pytest.raises(SetupError, match=says):
        load_calendar(tmp_path)


def test_a_calendar_with_other_days_is_another_policy() -> None:
    """The calendar is hashed with the policy: whoever holds the hash can recompute every deadline."""
    from schemas.policy import load_policy, policy_hash  # noqa: PLC0415

    policy = load_policy(DISTRICT)
    other = replace(policy, calendar=replace(CALENDAR, days=CALENDAR.days[1:]))

    assert policy_hash(policy) != policy_hash(other)
