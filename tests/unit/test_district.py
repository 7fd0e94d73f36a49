"""The demo district's data, and what its loader refuses."""

import shutil
from pathlib import Path

import pytest

from schemas.errors import SetupError
from schemas.grid import Grid, Role, load_registry
from schemas.policy import load_policy
from tests.builders import DISTRICT, POLICY, REGISTRY

PILOT = "610117001001"  # 东张市村


def test_the_pilot_village_is_as_the_article_says() -> None:
    """Eight grids with three to five cameras each."""
    grids = [grid for grid in REGISTRY.grids if grid.startswith(PILOT)]

    assert len(grids) == 8
    assert all(3 <= len(REGISTRY.cameras_of[grid]) <= 5 for grid in grids)


def test_everybody_is_covered() -> None:
    """106 items; every grid has its part-time worker, every village its full-time one."""
    assert len(POLICY.items) == 106
    assert all(len(REGISTRY.people_for(grid, Role.PART_TIME)) == 1 for grid in REGISTRY.grids)
    assert all(REGISTRY.people_for(grid, Role.FULL_TIME) for grid in REGISTRY.grids)


def area(grid: Grid) -> float:
    corners = grid.polygon
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, [*corners[1:], corners[0]], strict=True))) / 2


def test_neighbours_share_their_edges() -> None:
    """No edge belongs to more than two grids, and the areas are those of fields, not slivers."""
    edges: dict[frozenset[tuple[float, float]], int] = {}
    for grid in REGISTRY.grids.values():
        for a, b in zip(grid.polygon, [*grid.polygon[1:], grid.polygon[0]], strict=True):
            edges[frozenset({a, b})] = edges.get(frozenset({a, b}), 0) + 1

    assert max(edges.values()) == 2
    assert min(map(area, REGISTRY.grids.values())) > 1e-5


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("district.toml", 'id = "610117001001001"', 'id = "610117001001002"', "appears 2 times"),
        ("district.toml", 'id = "610117001001001"', 'id = "610117009001001"', "no parent"),
        ("district.toml", 'role = "part_time"', 'role = "king"', "role"),
        ("district.toml", "polygon = [[", "polygon = [[900, ", "polygon"),
        ("district.toml", "[district]", "[district", "district.toml"),
        ("cameras.toml", 'grid_id = "610117001001001"', 'grid_id = "610117001001999"', "unknown grid"),
        ("cameras.toml", "rtspt://127", "rtspt://user:secret@127", "url"),
        ("items.toml", 'code = "01001"', 'code = "01002"', "105 distinct items"),
        ("items.toml", 'sla = "major"', 'sla = "soon"', "unknown SLA class"),
        ("policy.toml", "acknowledge = 8000, ", "", "lacks a budget"),
        ("policy.toml", "warn_share = 0.75", "warn_share = 1.5", "warn_share"),
        ("policy.toml", 'item_code = "01001"', 'item_code = "77777"', "unknown item"),
    ],
)
def test_wrong_data_is_refused_with_the_place(tmp_path: Path, file: str, old: str, new: str, says: str) -> None:
    """A wrong file stops the start-up with a text that names what is wrong."""
    shutil.copytree(DISTRICT, tmp_path, dirs_exist_ok=True)
    content = (tmp_path / file).read_text(encoding="utf-8")
    assert old in content
    (tmp_path / file).write_text(content.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(SetupError, match=says):
        load_registry(tmp_path), load_policy(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    with pytest.raises(SetupError, match=r"district\.toml"):
        load_registry(tmp_path)
