"""Point to grid, against the audit's own polygons and against a ray that counts its crossings."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.ground import Ground
from tests.builders import GRID, REGISTRY
from tests.unit.test_district_map import GRIDS, holds

GROUND = Ground(GRIDS)
WEST, EAST, SOUTH, NORTH = 109.04, 109.10, 34.52, 34.55


@given(longitude=st.floats(WEST, EAST), latitude=st.floats(SOUTH, NORTH))
def test_a_point_is_in_the_grid_whose_ring_encloses_it(longitude: float, latitude: float) -> None:
    """Inside exactly one grid or outside all."""
    grid = GROUND.grid_at(longitude, latitude)

    assert ([grid.id] if grid else []) == [g.id for g in GRIDS if holds(g, (longitude, latitude))]


def test_every_camera_is_found_in_its_grid() -> None:
    for camera in REGISTRY.cameras.values():
        found = GROUND.grid_at(*camera.location)
        assert found is not None
        assert found.id == camera.grid_id


def test_a_point_on_a_border_has_one_grid_whatever_the_order() -> None:
    """The lowest id of those that meet there."""
    corner = (109.055239, 34.546)  # of East and West Zhao

    assert all(ground.grid_at(*corner) is REGISTRY.grids[GRID] for ground in (GROUND, Ground(GRIDS[::-1])))


def test_a_point_elsewhere_has_no_grid() -> None:
    assert GROUND.grid_at(0.0, 0.0) is None
