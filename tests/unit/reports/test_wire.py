"""Values from outside, held to the contract; ids the intake makes."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.reports.domain.wire import at_fault, checked, time_ordered_id
from schemas.errors import RecordError
from schemas.fields import CaseId, Instant, RecordId
from tests.builders import GRID, NINE


@pytest.mark.parametrize(
    ("value", "kind"),
    [("two words", RecordId), ("x" * 81, RecordId), ("17", CaseId), (f"{GRID}-AAAAAAAAAA", CaseId), ("1", Instant)],
)
def test_a_value_outside_its_pattern_is_refused_by_name(value: str, kind: object) -> None:
    """The error carries the field it was given for."""
    with pytest.raises(RecordError) as refused:
        checked(value, kind, "here")

    assert (refused.value.reason, refused.value.field) == ("invalid_field", "here")


def test_a_value_inside_its_pattern_is_converted() -> None:
    """An instant keeps its moment whatever its zone."""
    assert checked("2026-03-09T17:00:00+08:00", Instant, "at") == NINE


@pytest.mark.parametrize(
    ("message", "key", "field"),
    [
        ("Expected `float` <= 90.0", "location.lat", "location.lat"),
        ("Object missing required field `grid_id`", "data", "grid_id"),
        ("Object contains unknown field `age`", "reporter", "reporter.age"),
        ("Expected `object`, got `array`", "data", None),
        ("Expected `object`", None, None),
    ],
)
def test_the_field_at_fault_is_found(message: str, key: str | None, field: str | None) -> None:
    """A missing or unknown field is named in the message alone."""
    assert at_fault(message, key) == field


@given(st.binary(min_size=10, max_size=10), st.integers(min_value=0, max_value=10**9), st.integers(1, 10**6))
def test_generated_ids_are_in_order_of_time(random: bytes, at_s: int, later_s: int) -> None:
    """They are version 7 UUIDs: whatever the random part, the later one sorts behind."""
    at = NINE + timedelta(seconds=at_s)
    first, second = time_ordered_id(at, random), time_ordered_id(at + timedelta(seconds=later_s), b"\0" * 10)

    assert first < second
    assert (UUID(first).version, UUID(first).variant) == (7, UUID(second).variant)
    assert int(first.replace("-", "")[:12], 16) == int(at.timestamp() * 1000)
