"""The demo district's data, and what its loader refuses."""

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas.errors import SetupError
from schemas.grid import Absence, Grid, Role
from schemas.policy import load_policy
from schemas.registry import Registry, load_registry, registry_hash
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
        ("map.geojson", '"id":"610117001001001"', '"id":"610117001001002"', r"feature 610117001001002 id: .* already"),
        ("map.geojson", '"id":"610117001001001"', '"id":"610117009001001"', r"610117009001001 id: has no parent"),
        ("map.geojson", '"id":"610117001"', '"id":"61011"', r"features\[1\] id: "),
        ("map.geojson", '"id":"610117001"', '"id":"610118"', "2 features have a district's 6 digits"),
        ("map.geojson", "[[[109.063626", "[[[900.5", r"features\[0\] geometry.coordinates\[0\]\[0\]\[0\]: .* 180"),
        ("map.geojson", "[[[109.063626", "[[[109.063627", r"features\[0\] geometry.* does not end where it begins"),
        ("map.geojson", '"type":"Polygon"', '"type":"Point"', r"features\[0\] geometry.type"),
        ("map.geojson", '"name_en":', '"name_fr":', r"features\[0\].*name_en"),
        ("map.geojson", "FeatureCollection", "Feature", "map.geojson: not_geojson at type"),
        ("people.toml", 'role = "part_time"', 'role = "king"', r"people.toml: .*king.*people\[0\].role"),
        ("people.toml", "[[people]]", "[[people]", "people.toml"),
        ("people.toml", 'area = "610117001001001"', 'area = "610117001001"', r"people\[0\] pt-001001001 area: .* 15"),
        ("people.toml", 'area = "610117001001001"', 'area = "610117001001099"', r"people\[0\] .* unknown area"),
        ("people.toml", 'department = "公安"\n', "", r"people\[52\] dp-01 department: is needed"),
        ("people.toml", 'id = "pt-001001001"', 'id = "pt-001001002"', r"people\[1\] pt-001001002 id: .* already"),
        ("people.toml", 'substitute = "pt-001001001"', 'substitute = "pt-001001002"', r"absences\[0\] .*themselves"),
        ("people.toml", 'substitute = "pt-001001001"', 'substitute = "nobody"', r"absences\[0\] .* substitute: nobody"),
        ("people.toml", 'person = "gh-001001"', 'person = "nobody"', r"absences\[1\] nobody person: .* roster"),
        ("people.toml", "until = 2026-02-24", "until = 2026-02-16", r"absences\[0\] .* until: is not after since"),
        ("people.toml", "since = 2026-02-16 00:00:00+08:00", "since = 2026-02-16", r"absences\[0\].since"),
        ("cameras.toml", 'grid_id = "610117001001001"', 'grid_id = "610117001001999"', r"cameras\[0\] .* unknown grid"),
        ("cameras.toml", "rtspt://127", "rtspt://user:secret@127", r"cameras\[0\].url"),
        ("items.toml", "duplicate_radius_m = 100\n", "", "only one of duplicate_radius_m"),
        ("items.toml", 'time_base = "natural"', 'time_base = "lunar"', r"items\[0\].time_base"),
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
    with pytest.raises(SetupError, match=r"people\.toml"):
        load_registry(tmp_path)


FEBRUARY = datetime(2026, 2, 16, tzinfo=timezone(timedelta(hours=8)))  # pt-001001002 is away for eight days
DAY = timedelta(days=1)
NEXT_GRID, STANDING_IN, AWAY = "610117001001002", "pt-001001001", "pt-001001002"


@pytest.mark.parametrize(
    ("at", "acting"),
    [
        (FEBRUARY - timedelta(seconds=1), AWAY),
        (FEBRUARY, STANDING_IN),
        (FEBRUARY + 8 * DAY - timedelta(seconds=1), STANDING_IN),
        (FEBRUARY + 8 * DAY, AWAY),
    ],
)
def test_a_substitute_acts_exactly_while_the_person_is_away(at: datetime, acting: str) -> None:
    """An absence holds in [since, until), and with it what the substitute may do in the other's grid."""
    assert REGISTRY.on_duty(AWAY, at) == acting
    assert REGISTRY.serves(STANDING_IN, NEXT_GRID, at) is (acting == STANDING_IN)
    assert not REGISTRY.serves(STANDING_IN, NEXT_GRID)


def with_absences(*absences: tuple[str, str | None]) -> Registry:
    """Return the district with these people away for a day from FEBRUARY, and who stands in."""
    until = FEBRUARY + DAY
    away = [Absence(person=p, since=FEBRUARY, until=until, substitute=s) for p, s in absences]
    return Registry(replace(REGISTRY.content, absences=away))


@pytest.mark.parametrize(
    ("absences", "acting"),
    [
        ([(AWAY, STANDING_IN), (STANDING_IN, "ft-001001")], "ft-001001"),
        ([(AWAY, STANDING_IN), (STANDING_IN, None)], None),
        ([(AWAY, STANDING_IN), (STANDING_IN, "ft-001001"), ("ft-001001", AWAY)], None),
    ],
)
def test_who_stands_in_for_a_substitute(absences: list[tuple[str, str | None]], acting: str | None) -> None:
    """A substitute who is away has theirs; a chain that ends nowhere, or in itself, has nobody on duty."""
    registry = with_absences(*absences)

    assert registry.on_duty(AWAY, FEBRUARY) == acting
    assert registry.serves("ft-001001", NEXT_GRID, FEBRUARY)  # by roster, whoever is away


def test_two_absences_of_one_person_do_not_overlap() -> None:
    """Otherwise it would hang on their order who stands in."""
    with pytest.raises(SetupError, match=r"absences\[1\] pt-001001002 since: before the absence .* ends"):
        with_absences((AWAY, STANDING_IN), (AWAY, "ft-001001"))


def test_every_department_of_the_catalogue_has_somebody() -> None:
    """The top rung of each item's ladder is a person on the roster."""
    assert {item.department for item in POLICY.items.values()} == {
        person.department for person in REGISTRY.people.values() if person.role is Role.DEPARTMENT
    }


def test_the_content_address_follows_the_content(tmp_path: Path) -> None:
    """It is the same for the same district read twice, and another when a name changes."""
    shutil.copytree(DISTRICT, tmp_path, dirs_exist_ok=True)
    assert registry_hash(load_registry(tmp_path).content) == registry_hash(REGISTRY.content)

    people = tmp_path / "people.toml"
    people.write_text(people.read_text(encoding="utf-8").replace("ft-001001", "ft-001009"), encoding="utf-8")

    assert registry_hash(load_registry(tmp_path).content) != registry_hash(REGISTRY.content)
