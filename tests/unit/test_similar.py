"""Links between cases that may be one thing."""

from datetime import timedelta

from msgspec.structs import replace

from pipelines.domain.similar import Similar, distance_m
from schemas.reports import Location
from tests.builders import GRID, NINE, POLICY, a_case, seconds

ITEM = replace(POLICY.items["01001"], duplicate_radius_m=100, duplicate_window_ms=3_600_000)
HERE = Location(lat=34.53, long=109.09)
NEAR, FAR = Location(lat=34.5305, long=109.09), Location(lat=34.532, long=109.09)


def test_a_link_needs_the_same_item_near_in_place_and_time() -> None:
    """One of another item, beyond the radius, outside the window, or of the same instant is not linked."""
    similar, first = Similar(), a_case(location=HERE)
    similar.add(first)

    assert similar.find(GRID, ITEM, NEAR, NINE + seconds(1)) == first.case_id
    assert similar.find(GRID, ITEM, FAR, NINE + seconds(1)) is None
    assert similar.find(GRID, ITEM, None, NINE + seconds(1)) is None
    assert similar.find(GRID, ITEM, NEAR, NINE + timedelta(hours=1, milliseconds=1)) is None
    assert similar.find(GRID, ITEM, NEAR, NINE) is None
    assert similar.find(GRID, replace(ITEM, code="01002"), NEAR, NINE + seconds(1)) is None
    assert similar.find(GRID, replace(ITEM, duplicate_radius_m=None), NEAR, NINE + seconds(1)) is None


def test_links_lead_to_the_first_case_and_do_not_chain() -> None:
    """A case that may repeat another is not linked to; one that has gone is not either."""
    similar, first = Similar(), a_case(location=HERE)
    similar.add(first)
    similar.add(a_case(location=NEAR, similar_to=first.case_id, opened_at=NINE + seconds(1)))

    assert similar.find(GRID, ITEM, NEAR, NINE + seconds(2)) == first.case_id
    similar.forget(first)
    assert similar.find(GRID, ITEM, NEAR, NINE + seconds(2)) is None


def test_metres_are_metres() -> None:
    """0.0005 degrees of latitude are 55.6 m; a degree of longitude shrinks with the cosine of the latitude."""
    east = Location(lat=34.53, long=109.0905)

    assert round(distance_m(HERE, NEAR), 1) == 55.6
    assert round(distance_m(HERE, east), 1) == 45.8
