"""Coverage audit: is 「横到边、纵到底、全覆盖、无缝隙」 true of a district? Pure.

Polygons are cut in degrees and areas are taken on the WGS-84 ellipsoid (pyproj), so they hold to
the square metre: an edge counts as straight on the map, which for edges below 1 km is less than
a centimetre beside the geodesic. What is smaller than the tolerance is not a finding.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import shapely
from msgspec import Struct
from pyproj import Geod
from shapely import STRtree
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from schemas.grid import Grid, Place, Role
from schemas.registry import Registry

CAMERAS: Final = (3, 5)  # 「为每个网格配备3至5个“智慧眼”视频监控点位」
_ELLIPSOID: Final = Geod(ellps="WGS84")
_NEEDED: Final = ((12, Role.FULL_TIME), (12, Role.GRID_HEAD), (9, Role.STREET_CENTRE), (6, Role.DISTRICT_CENTRE))


class FindingCode(StrEnum):
    """What can be wrong with the coverage of a district."""

    INVALID = "invalid_polygon"  # crosses itself; audited as what it encloses
    GAP = "gap"  # ground of the place that no grid covers
    OVERLAP = "overlap"  # ground that two areas of one level claim
    OUTSIDE = "outside_parent"  # ground beyond the outline of the place it belongs to
    NO_OUTLINE = "no_outline"  # neither the village nor what it belongs to has one: gaps at its edge stay unseen
    NO_WORKER = "no_worker"  # a grid without a part-time worker
    NOBODY_ON_DUTY = "nobody_on_duty"  # its workers are away and nobody stands in
    NO_PERSON = "no_person"  # a place without a role or department it needs
    FEW_CAMERAS = "few_cameras"
    MANY_CAMERAS = "many_cameras"
    CAMERA_OUTSIDE = "camera_outside_grid"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, and where."""

    code: FindingCode
    place: str  # code of the district, street, village or grid
    name: str
    detail: str
    area_m2: float | None = None
    at: tuple[float, float] | None = None  # a point inside: longitude, latitude


class _Area(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    shape: Any  # a shapely polygon, made valid


def audit(registry: Registry, departments: Iterable[str], at: datetime, tolerance_m2: float) -> list[Finding]:
    """Return every finding, by level and place.

    Args:
        registry: the district.
        departments: who has to have a person, as the catalogue names them.
        at: when people have to be on duty.
        tolerance_m2: gaps, overlaps and parts outside up to this area are not findings.
    """
    grids, places = list(registry.grids.values()), list(registry.places.values())
    areas = [_area(grid, grid.polygon) for grid in grids]
    outlines = [_area(place, place.outline) for place in places if place.outline is not None]
    ground = [
        *(finding for grid in grids if (finding := _invalid(grid, grid.polygon))),
        *(finding for place in places if place.outline and (finding := _invalid(place, place.outline))),
        *_gaps(registry, areas, outlines),
        *_overlaps(areas, outlines),
        *_outside(areas, outlines),
    ]
    return [
        *(found for found in ground if found.area_m2 is None or found.area_m2 > tolerance_m2),
        *_without_outline(registry),
        *_without_people(registry, at),
        *_departments_without_people(registry, departments),
        *_camera_findings(registry, {area.id: area for area in areas}),
    ]


def area_m2(shape: BaseGeometry) -> float:
    """Return the area of a shape in degrees, in square metres on the ellipsoid."""
    return abs(float(_ELLIPSOID.geometry_area_perimeter(shapely.orient_polygons(shape))[0]))


def _area(of: Grid | Place, ring: Sequence[tuple[float, float]]) -> _Area:
    shape = Polygon(ring)
    return _Area(id=of.id, name=of.name, shape=shape if shape.is_valid else _polygons(shapely.make_valid(shape)))


def _polygons(shape: BaseGeometry) -> BaseGeometry:
    """Return what of *shape* has an area: cuts of neighbours also leave lines and points."""
    return shapely.union_all([part for part in shapely.get_parts(shape, return_index=False) if part.area > 0])


def _parts(shape: BaseGeometry) -> list[BaseGeometry]:
    return [part for part in shapely.get_parts(shape) if part.area > 0]


def _invalid(of: Grid | Place, ring: Sequence[tuple[float, float]]) -> Finding | None:
    reason = shapely.is_valid_reason(Polygon(ring))
    return (
        None
        if reason == "Valid Geometry"
        else Finding(code=FindingCode.INVALID, place=of.id, name=of.name, detail=reason)
    )


def _ground(code: FindingCode, of: _Area, detail: str, shape: BaseGeometry) -> Finding:
    inside = shape.representative_point()
    return Finding(
        code=code,
        place=of.id,
        name=of.name,
        detail=detail,
        area_m2=round(area_m2(shape), 1),
        at=(round(inside.x, 6), round(inside.y, 6)),
    )


def _gaps(registry: Registry, grids: list[_Area], outlines: list[_Area]) -> Iterator[Finding]:
    """Yield each piece of ground that no grid covers, under the smallest place whose outline holds it."""
    covered = shapely.union_all([grid.shape for grid in grids])
    between = [Polygon(part.exterior) for part in _parts(covered)]  # holes show even where no outline is known
    missing = shapely.union_all([*(outline.shape for outline in outlines), *between]).difference(covered)
    for outline in sorted(outlines, key=lambda area: (-len(area.id), area.id)):
        for part in _parts(missing.intersection(outline.shape)):
            yield _ground(FindingCode.GAP, outline, "no grid covers it", part)
        missing = missing.difference(outline.shape)
    district = registry.content.map.district
    for part in _parts(missing):
        whole = _Area(id=district.id, name=district.name, shape=part)
        yield _ground(FindingCode.GAP, whole, "no grid covers it, and no outline holds it", part)


def _overlaps(*levels: list[_Area]) -> Iterator[Finding]:
    for areas in filter(None, levels):
        shapes = [area.shape for area in areas]
        for i, j in zip(*STRtree(shapes).query(shapes, predicate="intersects"), strict=True):
            one, other = areas[i], areas[j]
            if i < j and len(one.id) == len(other.id):
                for part in _parts(one.shape.intersection(other.shape)):
                    yield _ground(FindingCode.OVERLAP, one, f"also claimed by {other.id} {other.name}", part)


def _outside(grids: list[_Area], outlines: list[_Area]) -> Iterator[Finding]:
    known = {outline.id: outline for outline in outlines}
    for area in [*outlines, *grids]:
        parent = known.get(area.id[:-3])
        if parent is not None:
            for part in _parts(area.shape.difference(parent.shape)):
                yield _ground(FindingCode.OUTSIDE, area, f"beyond the outline of {parent.id} {parent.name}", part)


def _without_outline(registry: Registry) -> Iterator[Finding]:
    for village in registry.content.map.villages:
        line = (registry.places[village.id[:digits]] for digits in (12, 9, 6))
        if all(place.outline is None for place in line):
            detail = "gaps at its edge cannot be seen"
            yield Finding(code=FindingCode.NO_OUTLINE, place=village.id, name=village.name, detail=detail)


def _without_people(registry: Registry, at: datetime) -> Iterator[Finding]:
    for grid in registry.grids.values():
        workers = registry.people_for(grid.id, Role.PART_TIME)
        if not workers:
            yield Finding(code=FindingCode.NO_WORKER, place=grid.id, name=grid.name, detail="no part-time worker")
        elif all(registry.on_duty(worker.id, at) is None for worker in workers):
            away = ", ".join(worker.id for worker in workers)
            detail = f"{away} away on {at:%Y-%m-%d} and nobody stands in"
            yield Finding(code=FindingCode.NOBODY_ON_DUTY, place=grid.id, name=grid.name, detail=detail)
    for digits, role in _NEEDED:
        served = {person.area for person in registry.people.values() if person.role is role}
        for place in registry.places.values():
            if len(place.id) == digits and place.id not in served:
                yield Finding(code=FindingCode.NO_PERSON, place=place.id, name=place.name, detail=f"no {role}")


def _departments_without_people(registry: Registry, departments: Iterable[str]) -> Iterator[Finding]:
    district = registry.content.map.district
    there = {person.department for person in registry.people.values()}
    for department in sorted(set(departments) - there):
        detail = f"nobody of department {department}, which owns items of the catalogue"
        yield Finding(code=FindingCode.NO_PERSON, place=district.id, name=district.name, detail=detail)


def _camera_findings(registry: Registry, areas: dict[str, _Area]) -> Iterator[Finding]:
    fewest, most = CAMERAS
    for grid in registry.grids.values():
        cameras = registry.cameras_of.get(grid.id, [])
        if not fewest <= len(cameras) <= most:
            code = FindingCode.FEW_CAMERAS if len(cameras) < fewest else FindingCode.MANY_CAMERAS
            detail = f"{len(cameras)} cameras, not {fewest} to {most}"
            yield Finding(code=code, place=grid.id, name=grid.name, detail=detail)
        for camera in cameras:
            if not areas[grid.id].shape.covers(Point(camera.location)):
                detail = f"{camera.id} {camera.name} stands outside"
                yield Finding(
                    code=FindingCode.CAMERA_OUTSIDE, place=grid.id, name=grid.name, detail=detail, at=camera.location
                )


def counts(findings: Iterable[Finding]) -> dict[FindingCode, int]:
    """Return how many findings of each code there are, in the order of the codes."""
    found = [finding.code for finding in findings]
    return {code: found.count(code) for code in FindingCode if code in found}
