"""The map of the demo district: grids cover their ground once, and cameras stand where they say."""

from itertools import combinations

from schemas.grid import Grid
from tests.builders import REGISTRY

Point = tuple[float, float]
Edge = tuple[Point, Point]

GRIDS = list(REGISTRY.grids.values())


def edges(grid: Grid) -> list[Edge]:
    return list(zip(grid.polygon, [*grid.polygon[1:], grid.polygon[0]], strict=True))


def turn(a: Point, b: Point, c: Point) -> float:
    """Return twice the signed area of a triangle."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def cross(one: Edge, other: Edge) -> bool:
    """Tell whether two edges cut through each other; a shared end is no cut."""
    (a, b), (c, d) = one, other
    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0


def signed_area(grid: Grid) -> float:
    """Return the area in square degrees, negative when the corners run clockwise."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in edges(grid)) / 2


def holds(grid: Grid, point: Point) -> bool:
    """Tell whether *point* is inside: a ray to the right leaves the polygon an odd number of times."""
    x, y = point
    cuts = [(a, b) for a, b in edges(grid) if (a[1] > y) != (b[1] > y)]
    return sum(x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]) for a, b in cuts) % 2 == 1


def test_no_two_edges_of_the_map_cut_each_other() -> None:
    """Neither inside a grid nor between grids: polygons are simple and do not overlap at their borders."""
    every = [edge for grid in GRIDS for edge in edges(grid)]

    assert [pair for pair in combinations(every, 2) if cross(*pair)] == []


def test_the_grids_fill_the_district_without_gap_or_overlap() -> None:
    """Each point inside the outline belongs to exactly one grid.

    All polygons turn the same way, and the edges that no neighbour walks backwards form one
    simple ring. So their winding numbers add up to that of the ring: one inside, none outside.
    """
    directed = [edge for grid in GRIDS for edge in edges(grid)]
    outline = dict(edge for edge in directed if edge[::-1] not in set(directed))
    start = here = next(iter(outline))
    ring = [start]
    while (here := outline[here]) != start:
        ring.append(here)

    assert {signed_area(grid) > 0 for grid in GRIDS} == {True}
    assert len(directed) == len(set(directed))
    assert len(ring) == len(outline) == sum(edge[::-1] not in set(directed) for edge in directed)


def test_every_camera_stands_in_its_grid_and_in_no_other() -> None:
    """The map draws a camera inside the grid whose key its records carry."""
    for camera in REGISTRY.cameras.values():
        assert [grid.id for grid in GRIDS if holds(grid, camera.location)] == [camera.grid_id], camera.id


def test_both_transports_are_in_the_demo() -> None:
    """Two of the 32 cameras speak UDP, the rest TCP."""
    urls = [camera.url for camera in REGISTRY.cameras.values()]

    assert len(urls) == len(set(urls)) == 32
    assert sum(url.startswith("rtsp://") for url in urls) == 2
