"""The coverage audit on districts drawn in metres, so that every area is known beforehand."""

from datetime import UTC, datetime, timedelta
from math import cos, radians, sin, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.registry.audit import Finding, FindingCode, audit
from schemas.grid import Absence, Camera, District, Grid, Map, Person, Place, Role
from schemas.registry import Registry
from tests.builders import NINE, REGISTRY

VILLAGE = "610117001001"
WEST, EAST = VILLAGE + "001", VILLAGE + "002"
LONGITUDE, LATITUDE = 109.05, 34.54
_A, _E2 = 6378137.0, 0.00669437999014  # WGS-84: semi-major axis in m, first eccentricity squared
_W2 = 1 - _E2 * sin(radians(LATITUDE)) ** 2
M_PER_DEGREE_EAST = radians(1) * _A / sqrt(_W2) * cos(radians(LATITUDE))
FLAT = 5e-5  # how much a metre on this drawing has shrunk 500 m further north
M_PER_DEGREE_NORTH = radians(1) * _A * (1 - _E2) / _W2**1.5


def metres(*corners: tuple[float, float]) -> list[tuple[float, float]]:
    """Return corners given in metres east and north of the village's south-west corner, in degrees."""
    return [(LONGITUDE + x / M_PER_DEGREE_EAST, LATITUDE + y / M_PER_DEGREE_NORTH) for x, y in corners]


def box(west: float, south: float, east: float, north: float) -> list[tuple[float, float]]:
    """Return a rectangle given in metres, in degrees."""
    return metres((west, south), (east, south), (east, north), (west, north))


def a_grid(ident: str, ring: list[tuple[float, float]]) -> Grid:
    return Grid(id=ident, name=f"网格{ident[-1]}", name_en=f"Grid {ident[-1]}", polygon=ring)


def a_place(ident: str, outline: list[tuple[float, float]] | None = None) -> Place:
    return Place(id=ident, name="演示", name_en="Demo", outline=outline)


def a_district(*grids: Grid, outline: Any = None, **changes: Any) -> Registry:
    """Return a village of *grids* with everybody and every camera it needs, changed as asked."""
    people = [
        *(Person(id=f"pt-{g.id}", role=Role.PART_TIME, area=g.id) for g in grids),
        Person(id="ft", role=Role.FULL_TIME, area=VILLAGE),
        Person(id="gh", role=Role.GRID_HEAD, area=VILLAGE),
        Person(id="st", role=Role.STREET_CENTRE, area=VILLAGE[:9]),
        Person(id="dc", role=Role.DISTRICT_CENTRE, area=VILLAGE[:6]),
    ]
    cameras = [
        Camera(id=f"c-{g.id}-{n}", grid_id=g.id, name="村口", url="rtspt://host/c", location=g.polygon[0])
        for g in grids
        for n in range(3)
    ]
    plan = Map(
        district=a_place(VILLAGE[:6]),
        streets=[a_place(VILLAGE[:9])],
        villages=[a_place(VILLAGE, outline)],
        grids=list(grids),
    )
    content = District(map=plan, people=people, absences=[], cameras=cameras)
    return Registry(replace(content, **changes))


def found(registry: Registry, tolerance_m2: float = 1.0) -> list[Finding]:
    return audit(registry, [], NINE, tolerance_m2)


WHOLE = box(0, 0, 1000, 500)


def test_a_village_without_a_fault_has_no_finding() -> None:
    """Two grids side by side fill their village's outline."""
    assert (
        found(a_district(a_grid(WEST, box(0, 0, 500, 500)), a_grid(EAST, box(500, 0, 1000, 500)), outline=WHOLE)) == []
    )


@given(shift=st.integers(-40, 40), height=st.integers(50, 500))
def test_areas_hold_to_the_square_metre(shift: int, height: int) -> None:
    """A border that is *shift* metres off over *height* metres is a gap or an overlap of just that area."""
    west = a_grid(WEST, metres((0, 0), (500, 0), (500 - shift, 0), (500 - shift, height), (0, height)))
    east = a_grid(EAST, box(500, 0, 1000, height))
    ground = [f for f in found(a_district(west, east, outline=box(0, 0, 1000, height)))]

    assert [f.code for f in ground if f.code is not FindingCode.INVALID] == (
        [] if shift == 0 else [FindingCode.GAP if shift > 0 else FindingCode.OVERLAP]
    )
    for finding in ground:
        if finding.area_m2 is not None:
            assert finding.area_m2 == pytest.approx(abs(shift) * height, abs=1)


@pytest.mark.parametrize(("side", "seen"), [(0.9, False), (1.1, True)])
def test_what_is_smaller_than_the_tolerance_is_no_finding(side: float, seen: bool) -> None:
    """One square metre unless told otherwise."""
    notched = metres(
        (0, 0),
        (500, 0),
        (500, 500),
        (250 + side, 500),
        (250 + side, 500 - side),
        (250, 500 - side),
        (250, 500),
        (0, 500),
    )
    village = a_district(a_grid(WEST, notched), outline=box(0, 0, 500, 500))

    assert bool(found(village)) is seen
    assert [f.code for f in found(village, 0.1)] == [FindingCode.GAP]
    assert found(village, 2.0) == []


def test_a_hole_shows_without_any_outline() -> None:
    """What grids enclose and none covers is a gap, and so is what cannot be seen said."""
    ring = [
        a_grid(f"{VILLAGE}00{n}", box(*corners))
        for n, corners in enumerate(
            [(0, 0, 300, 100), (0, 200, 300, 300), (0, 100, 100, 200), (200, 100, 300, 200)], start=1
        )
    ]

    gap, unseen = found(a_district(*ring))

    assert (gap.code, gap.area_m2, gap.place) == (FindingCode.GAP, pytest.approx(10_000, abs=1), VILLAGE[:6])
    assert gap.at == pytest.approx(metres((150, 150))[0], abs=1e-3)
    assert unseen.code is FindingCode.NO_OUTLINE


def test_a_gap_is_reported_once_under_the_smallest_place() -> None:
    """Village, street and district all have it; the village is told."""
    village = a_district(a_grid(WEST, box(0, 0, 500, 500)), outline=WHOLE)
    plan = village.content.map
    nested = replace(
        plan, district=replace(plan.district, outline=WHOLE), streets=[replace(plan.streets[0], outline=WHOLE)]
    )

    (gap,) = found(Registry(replace(village.content, map=nested)))

    assert (gap.code, gap.place, gap.area_m2) == (FindingCode.GAP, VILLAGE, pytest.approx(250_000, rel=FLAT))


def test_ground_beyond_the_village_belongs_to_somebody_else() -> None:
    """A grid that reaches out of its village's outline is told with the part outside."""
    (finding,) = found(a_district(a_grid(WEST, box(0, 0, 510, 500)), outline=box(0, 0, 500, 500)))

    assert (finding.code, finding.place) == (FindingCode.OUTSIDE, WEST)
    assert finding.area_m2 == pytest.approx(5_000, abs=1)


def test_a_polygon_that_crosses_itself_is_told_and_still_audited() -> None:
    """Its ground is what it encloses: here two triangles, half of the village."""
    bow = a_grid(WEST, metres((0, 0), (500, 500), (500, 0), (0, 500)))

    invalid, *gaps = found(a_district(bow, outline=box(0, 0, 500, 500)))

    assert invalid.code is FindingCode.INVALID
    assert [gap.code for gap in gaps] == [FindingCode.GAP, FindingCode.GAP]
    assert sum(gap.area_m2 or 0 for gap in gaps) == pytest.approx(125_000, rel=FLAT)


GRID_BOX = a_grid(WEST, box(0, 0, 500, 500))
FULL = a_district(GRID_BOX, outline=box(0, 0, 500, 500)).content


@pytest.mark.parametrize(
    "role", [Role.PART_TIME, Role.FULL_TIME, Role.GRID_HEAD, Role.STREET_CENTRE, Role.DISTRICT_CENTRE]
)
def test_everybody_who_is_needed_is_missed(role: Role) -> None:
    """A grid needs its worker; village, street and district need theirs."""
    (left_out,) = (person for person in FULL.people if person.role is role)

    (finding,) = found(Registry(replace(FULL, people=[p for p in FULL.people if p is not left_out])))

    assert finding.code is (FindingCode.NO_WORKER if role is Role.PART_TIME else FindingCode.NO_PERSON)
    assert finding.place == left_out.area


def test_a_department_that_owns_items_has_a_person() -> None:
    """The top rung of the ladder would call nobody."""
    liaison = Person(id="dp", role=Role.DEPARTMENT, area=VILLAGE[:6], department="公安")
    registry = Registry(replace(FULL, people=[*FULL.people, liaison]))

    (finding,) = audit(registry, ["公安", "环保", "环保"], NINE, 1.0)

    assert (finding.code, finding.place) == (FindingCode.NO_PERSON, VILLAGE[:6])
    assert "环保" in finding.detail


@pytest.mark.parametrize(("substitute", "codes"), [(None, [FindingCode.NOBODY_ON_DUTY]), ("ft", [])])
def test_a_worker_who_is_away_needs_a_substitute(substitute: str | None, codes: list[FindingCode]) -> None:
    """On the day of the audit somebody has to be on duty in every grid."""
    away = Absence(person=f"pt-{WEST}", since=NINE, until=NINE + timedelta(days=1), substitute=substitute)
    registry = Registry(replace(FULL, absences=[away]))

    assert [finding.code for finding in found(registry)] == codes
    assert audit(registry, [], datetime(2026, 1, 1, tzinfo=UTC), 1.0) == []


@pytest.mark.parametrize(
    ("cameras", "code"),
    [(0, FindingCode.FEW_CAMERAS), (2, FindingCode.FEW_CAMERAS), (3, None), (5, None), (6, FindingCode.MANY_CAMERAS)],
)
def test_a_grid_has_three_to_five_cameras(cameras: int, code: FindingCode | None) -> None:
    """As the article says: 3至5个."""
    some = [replace(FULL.cameras[0], id=f"c-{n}") for n in range(cameras)]

    assert [f.code for f in found(Registry(replace(FULL, cameras=some)))] == ([] if code is None else [code])


def test_a_camera_stands_in_its_grid() -> None:
    """One beyond the border would send its grid's worker to a neighbour's ground."""
    moved = [replace(FULL.cameras[0], location=metres((501, 250))[0]), *FULL.cameras[1:]]

    (finding,) = found(Registry(replace(FULL, cameras=moved)))

    assert (finding.code, finding.at) == (FindingCode.CAMERA_OUTSIDE, moved[0].location)


def test_the_demo_district_has_cameras_in_its_pilot_village_only() -> None:
    """Its ground is covered once and everybody is there; twenty grids have no camera yet, and the audit says so."""
    findings = found(REGISTRY)

    assert {(f.code, f.place[:12] == "610117001001") for f in findings} == {(FindingCode.FEW_CAMERAS, False)}
    assert len(findings) == 20
