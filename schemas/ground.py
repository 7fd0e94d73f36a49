"""Where a point lies: which grid holds it. Coordinates are WGS-84."""

from collections.abc import Iterable

from shapely import STRtree
from shapely.geometry import Point, Polygon

from schemas.grid import Grid


class Ground:
    """The polygons of a district's grids, indexed."""

    def __init__(self, grids: Iterable[Grid]) -> None:
        # In order of id, so that a point on a border always belongs to the same grid.
        self._grids = sorted(grids, key=lambda grid: grid.id)
        self._tree = STRtree([Polygon(grid.polygon) for grid in self._grids])

    def grid_at(self, longitude: float, latitude: float) -> Grid | None:
        """Return the grid that holds the point; on a border the one with the lowest id; None outside all."""
        found = self._tree.query(Point(longitude, latitude), predicate="intersects")
        return self._grids[min(found)] if len(found) else None
