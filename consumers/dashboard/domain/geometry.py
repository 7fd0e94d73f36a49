"""The district as a drawing: polygons projected onto a flat box, a place for each label. Pure."""

import math
from collections.abc import Sequence

from msgspec import Struct

from schemas.grid import Grid

Point = tuple[float, float]
WIDTH = 1000.0
MARGIN = 8.0


class Shape(Struct, frozen=True, kw_only=True):
    """One grid on the drawing: the `points` of its polygon and the middle of it."""

    points: str
    x: float
    y: float


class Drawing(Struct, frozen=True, kw_only=True):
    """Every grid's shape, in a box of `width` by `height` units."""

    width: float
    height: float
    shapes: dict[str, Shape]


def draw(grids: Sequence[Grid]) -> Drawing:
    """Project *grids* north up; a degree of longitude is narrowed by the cosine of the latitude, as on the ground."""
    corners = [corner for grid in grids for corner in grid.polygon]
    if not corners:
        return Drawing(width=WIDTH, height=WIDTH / 2, shapes={})
    west, north = min(lon for lon, _ in corners), max(lat for _, lat in corners)
    east, south = max(lon for lon, _ in corners), min(lat for _, lat in corners)
    narrow = math.cos(math.radians((north + south) / 2))
    scale = (WIDTH - 2 * MARGIN) / ((east - west) * narrow or 1.0)

    def place(corner: Point) -> Point:
        lon, lat = corner
        return MARGIN + (lon - west) * narrow * scale, MARGIN + (north - lat) * scale

    shapes = {grid.id: _shape([place(corner) for corner in grid.polygon]) for grid in grids}
    return Drawing(width=WIDTH, height=round((north - south) * scale + 2 * MARGIN, 1), shapes=shapes)


def _shape(corners: Sequence[Point]) -> Shape:
    x, y = middle(corners)
    return Shape(points=" ".join(f"{x:.1f},{y:.1f}" for x, y in corners), x=round(x, 1), y=round(y, 1))


def middle(corners: Sequence[Point]) -> Point:
    """Return the centroid of a polygon; of one without area, the mean of its corners."""
    pairs = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    cross = [x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs]
    area = sum(cross)
    if abs(area) < 1e-9:
        return sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners)
    x = sum((x0 + x1) * c for ((x0, _), (x1, _)), c in zip(pairs, cross, strict=True)) / (3 * area)
    y = sum((y0 + y1) * c for ((_, y0), (_, y1)), c in zip(pairs, cross, strict=True)) / (3 * area)
    return x, y


def sparkline(values: Sequence[float], width: float = 100.0, height: float = 24.0) -> str:
    """Return *values* as the points of a polyline from the left edge to the right; the largest touches the top."""
    top = max(values, default=0.0) or 1.0
    step = width / max(len(values) - 1, 1)
    return " ".join(f"{i * step:.1f},{height - 1 - v / top * (height - 2):.1f}" for i, v in enumerate(values))
