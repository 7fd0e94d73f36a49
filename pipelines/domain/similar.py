"""Which earlier case a new one may repeat: same grid and item, near in place and in time. Pure.

Only a suggestion: both are cases, linked, and somebody decides. It follows from the cases that
were opened before alone, whatever became of them, so a replay links alike. A case that repeats
another is not repeated itself: the link always leads to the first, and the index stays small.
"""

from bisect import insort
from datetime import datetime, timedelta
from math import cos, hypot, radians
from typing import Final

from pipelines.domain.grids import Counted
from schemas.cases import Case
from schemas.policy import Item
from schemas.reports import Location

_METRES_PER_DEGREE: Final = 111_195.0  # of a great circle of the mean earth radius, 6,371.0 km


class Similar:
    """The first cases of things in the grids of one partition."""

    def __init__(self) -> None:
        """Know of none."""
        self._first: dict[tuple[str, str], list[tuple[datetime, str, Location]]] = {}

    def add(self, case: Case | Counted) -> None:
        """Take a case in, in any order; one without position, or that may repeat another, is none to link to."""
        if case.location is not None and case.similar_to is None:
            insort(self._first.setdefault((case.grid_id, case.item_code), []), _entry(case, case.location), key=_order)

    def forget(self, case: Case) -> None:
        """Let a case go."""
        if case.location is not None and case.similar_to is None:
            self._first[case.grid_id, case.item_code].remove(_entry(case, case.location))

    def find(self, grid_id: str, item: Item, location: Location | None, at: datetime) -> str | None:
        """Return the last case that one opened at *at* may repeat.

        One of the same millisecond is not looked at, since a replay may know it already.
        """
        if location is None or item.duplicate_radius_m is None or item.duplicate_window_ms is None:
            return None
        since = at - timedelta(milliseconds=item.duplicate_window_ms)
        for opened_at, case_id, place in reversed(self._first.get((grid_id, item.code), ())):
            if opened_at < since:
                return None
            if opened_at < at and distance_m(place, location) <= item.duplicate_radius_m:
                return case_id
        return None


def distance_m(one: Location, other: Location) -> float:
    """Return metres between two points; good to a millionth over the few hundred metres it is used for."""
    north = other.lat - one.lat
    east = (other.long - one.long) * cos(radians((one.lat + other.lat) / 2))
    return hypot(north, east) * _METRES_PER_DEGREE


def _entry(case: Case | Counted, location: Location) -> tuple[datetime, str, Location]:
    return case.opened_at, case.case_id, location


def _order(entry: tuple[datetime, str, Location]) -> tuple[datetime, str]:
    return entry[0], entry[1]
