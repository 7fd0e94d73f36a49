"""What an import takes, what it refuses and how it says so, and that it writes all or nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.registry import imports, saving
from infra.registry.imports import Import
from schemas.district_files import load_district
from schemas.errors import SetupError
from schemas.geojson import dump
from schemas.grid import Person, Role
from schemas.registry import load_registry
from tests.builders import DISTRICT, GRID, REGISTRY

BEFORE = REGISTRY.content
VILLAGE = GRID[:12]
CHINESE = (
    f"工号,姓名,岗位,网格编码,部门\npt-new,演示新人,兼职网格员,{GRID},\nft-001001,演示改名,专职网格员,{VILLAGE},\n"
)
ENGLISH = f"id,name,role,area\npt-new,演示新人,part_time,{GRID}\nft-001001,演示改名,full_time,{VILLAGE}\n"


def people(text: str, encoding: str = "utf-8") -> Import:
    return imports.people(BEFORE, text.encode(encoding), "people.csv")


@pytest.mark.parametrize("text", [CHINESE, ENGLISH, ENGLISH.replace(",", ";"), ENGLISH.replace(",", "\t")])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_an_offices_file_is_taken_as_it_comes(text: str, newline: str, encoding: str) -> None:
    """Chinese or English headers, any separator, Excel's mark, GB18030, Windows' line ends."""
    result = people(text.replace("\n", newline), encoding)

    assert result.faults == []
    assert (result.added, result.replaced, result.unchanged) == (1, 1, 0)
    assert result.district.people[-1] == Person(id="pt-new", name="演示新人", role=Role.PART_TIME, area=GRID)
    assert {p.id: p for p in result.district.people}["ft-001001"].name == "演示改名"
    assert len(result.district.people) == len(BEFORE.people) + 1


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("a b,演示,part_time,610117001001001", "id", "regex"),
        (",演示,part_time,610117001001001", "id", "empty"),
        ("x,,part_time,610117001001001", "name", "empty"),
        ("x,演示,国王,610117001001001", "role", "Invalid enum"),
        ("x,演示,part_time,610117001001099", "area", "unknown area 610117001001099"),
        ("x,演示,part_time,610117001001", "area", "15 digits"),
        ("x,演示,part_time,6.10117E+14", "area", "spreadsheet"),
        ("x,演示,part_time", "area", "empty"),
        ("x,演示,department,610117", "department", "is needed"),
        ("ok,演示,part_time,610117001001001", "id", "ok is on line 2 already"),
    ],
)
def test_a_line_that_cannot_be_taken_is_told(line: str, field: str, reason: str) -> None:
    """By its number in the file, the column and why; the good lines around it make it no better."""
    head = "id,name,role,area\nok,演示,part_time,610117001001001\n"

    (fault,) = people(f"{head}\n{line}\nalso,演示,part_time,610117001001001\n").faults

    assert (fault.file, fault.at.split()[:2], fault.field) == ("people.csv", ["line", "4"], field)
    assert reason in fault.reason


def test_every_line_that_cannot_be_taken_is_told() -> None:
    """Not only the first: an office mends its file once."""
    bad = "".join(f"x{n},演示,king,610117001001001\n" for n in range(50))

    assert [fault.at for fault in people(f"id,name,role,area\n{bad}").faults] == [f"line {n + 2}" for n in range(50)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column is id"),
        (b"id,name,role\n", "no column is area .*网格编码"),
        ("id,编号,姓名,role,area\n".encode(), "2 columns are id: id, 编号"),
        (b"\xff\xff\xff\xff", "neither UTF-8 nor GB18030"),
        (b'id,name,role,area\n"x,y\n', "line 2"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_whole(content: bytes, says: str) -> None:
    """Nothing in it can be told apart."""
    with pytest.raises(SetupError, match=says):
        imports.people(BEFORE, content, "people.csv")


CAMERA_HEAD = "点位编号,网格编码,点位名称,取流地址,经度,纬度\n"


def cameras(*lines: str) -> Import:
    return imports.cameras(BEFORE, (CAMERA_HEAD + "\n".join(lines)).encode("gb18030"), "cameras.csv")


def test_a_camera_is_taken() -> None:
    """With its place and address."""
    result = cameras(f"cam-new,{GRID},村口,rtspt://10.0.0.9:554/ch1,109.0521,34.5439")

    assert result.faults == []
    assert result.district.cameras[-1].location == (109.0521, 34.5439)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (f"cam-new,{GRID},村口,rtsp://admin:s3cret@10.0.0.9/ch1,109.0521,34.5439", "url"),
        (f"cam-new,{GRID},村口,http://10.0.0.9/s3cret,109.0521,34.5439", "url"),
        (f"cam-new,{GRID},村口,rtsp://10.0.0.9/ch1,nan,34.5439", "longitude"),
        (f"cam-new,{GRID},村口,rtsp://10.0.0.9/ch1,109.0521,s3cret", "latitude"),
        (f"cam-new,{GRID},村口,rtsp://10.0.0.9/ch1,34.5439,109.0521", "latitude"),
        ("cam-new,610117001001099,村口,rtsp://10.0.0.9/ch1,109.0521,34.5439", "grid_id"),
    ],
)
def test_a_camera_that_cannot_be_taken_keeps_its_secret(line: str, field: str) -> None:
    """The column is named, what stands in it is not repeated: it may be a password."""
    (fault,) = cameras(line).faults

    assert (fault.at.split()[:2], fault.field) == (["line", "2"], field)
    assert "s3cret" not in str(fault)


SQUARE = [(109.1, 34.5), (109.11, 34.5), (109.11, 34.51), (109.1, 34.51)]


def feature(ident: str | None, ring: Any = SQUARE, **properties: Any) -> dict[str, Any]:
    """Return a feature as a GIS program writes it."""
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "id": ident, "properties": properties, "geometry": geometry}


def grids(*features: dict[str, Any]) -> Import:
    content = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
    return imports.grids(BEFORE, content, "grids.geojson")


def test_a_grid_is_taken_as_gis_programs_write_it() -> None:
    """Code and name as Chinese properties, further properties of their own; a name that is left out stays."""
    result = grids(
        feature(None, 网格编码=f"{VILLAGE}099", 网格名称="新网格", 面积=1.5),
        feature(GRID),
        feature("610117001009", name="新村"),
    )
    new, old = result.district.map.grids[-1], result.district.map.grids[0]

    assert result.faults == []
    assert (result.added, result.replaced) == (2, 1)
    assert (new.id, new.name, new.name_en, new.polygon) == (f"{VILLAGE}099", "新网格", "新网格", SQUARE)
    assert (old.name, old.polygon) == (REGISTRY.grids[GRID].name, SQUARE)
    assert result.district.map.villages[-1].outline == SQUARE


def several(parts: int) -> dict[str, Any]:
    """Return a grid of so many parts."""
    ring = [[*SQUARE, SQUARE[0]]]
    return feature(f"{VILLAGE}099", name="x") | {"geometry": {"type": "MultiPolygon", "coordinates": [ring] * parts}}


def test_a_multipolygon_of_one_part_is_a_polygon() -> None:
    """GIS programs write every polygon so."""
    result = grids(several(1))

    assert result.faults == []
    assert result.district.map.grids[-1].polygon == SQUARE


BOW = [(109.1, 34.5), (109.11, 34.51), (109.11, 34.5), (109.1, 34.51)]


@pytest.mark.parametrize(
    ("wrong", "field", "reason"),
    [
        (feature(f"{VILLAGE}099"), "name", "Expected `str`"),
        (feature("61011700100109", name="x"), "id", "regex"),
        (feature("610117009001001", name="x"), "id", "no parent 610117009001"),
        (feature(f"{VILLAGE}099", BOW, name="x"), "geometry", "Self-intersection"),
        (feature(f"{VILLAGE}099", name="x") | {"geometry": None}, "polygon", "Expected `array`"),
        (feature(f"{VILLAGE}099", name="x") | {"geometry": {"type": "Point"}}, "geometry.type", "Point"),
        (several(0), "geometry.coordinates", "one part"),
        (several(2), "geometry.coordinates", "one part"),
        (feature("610118", name="另一个区"), "id", "another district"),
    ],
)
def test_a_feature_that_cannot_be_taken_is_told(wrong: dict[str, Any], field: str, reason: str) -> None:
    """By its index, the field and why."""
    found = grids(feature(GRID), wrong).faults

    assert [(fault.at.split()[0], fault.field) for fault in found] == [("features[1]", field)]
    assert reason in found[0].reason


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the demo district."""
    shutil.copytree(DISTRICT, tmp_path / "district")
    return tmp_path / "district"


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("result", "file"),
    [
        (lambda: people(CHINESE), "people.toml"),
        (lambda: cameras(f"cam-new,{GRID},村口,rtspt://10.0.0.9/ch1,109.0521,34.5439"), "cameras.toml"),
        (lambda: grids(feature(GRID)), "map.geojson"),
    ],
)
def test_what_was_taken_is_what_is_read(directory: Path, result: Callable[[], Import], file: str) -> None:
    """One file changes, the others keep their bytes, and a start reads what was imported."""
    before, taken = bytes_of(directory), result()

    assert saving.save(directory, BEFORE, taken.district) == [file]

    after = bytes_of(directory)
    assert load_registry(directory).content == taken.district
    assert {name for name in before | after if before.get(name) != after.get(name)} == {file}


def test_the_shipped_files_are_as_an_import_would_write_them(directory: Path) -> None:
    """So a diff after an import shows what changed, comments at the head included."""
    nobody = replace(BEFORE, people=[], cameras=[], map=replace(BEFORE.map, grids=[]))
    before = bytes_of(directory)

    assert len(saving.save(directory, nobody, load_district(directory))) == 3

    assert bytes_of(directory) == before


def test_nothing_to_change_writes_nothing(directory: Path) -> None:
    """The same people again are unchanged."""
    result = people("id,name,role,area\n" + "".join(f"{p.id},{p.name},{p.role},{p.area}\n" for p in BEFORE.people[:40]))

    assert (result.added, result.replaced, result.unchanged) == (0, 0, 40)
    assert saving.save(directory, BEFORE, result.district) == []


def test_a_file_that_cannot_be_written_is_named_and_stays(directory: Path) -> None:
    """Here something stands in the way of the new file."""
    (directory / ".people.toml.new").mkdir()
    before = (directory / "people.toml").read_bytes()

    with pytest.raises(SetupError, match=r"people\.toml: cannot be written"):
        saving.save(directory, BEFORE, people(CHINESE).district)

    assert (directory / "people.toml").read_bytes() == before


def test_a_file_keeps_its_permissions(directory: Path) -> None:
    """A roster that only its owner may read stays so."""
    (directory / "people.toml").chmod(0o600)

    saving.save(directory, BEFORE, people(CHINESE).district)

    assert (directory / "people.toml").stat().st_mode & 0o777 == 0o600


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=6), max_size=5), st.sampled_from(["utf-8-sig", "gb18030"]))
def test_no_table_breaks_an_import(rows: list[list[str]], encoding: str) -> None:
    """Whatever the cells hold, each line is taken or told, and a district that is read back is sound."""
    lines = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)

    result = imports.people(BEFORE, f"id,name,role,area\n{lines}".encode(encoding), "people.csv")

    assert result.faults or result.district.people == BEFORE.people or result.added


@given(st.binary(max_size=200))
def test_no_bytes_break_an_import(content: bytes) -> None:
    """Bytes that are no table or no map are refused as ours, never as a traceback."""
    for take in (imports.people, imports.cameras, imports.grids):
        with pytest.raises(SetupError):
            take(BEFORE, content, "file")


def test_an_exported_map_is_taken_back_unchanged() -> None:
    """Our own file is a valid import of itself."""
    result = imports.grids(BEFORE, saving.map_bytes(BEFORE.map), "map.geojson")

    assert (result.faults, result.added, result.replaced) == ([], 0, 0)
    assert result.district == BEFORE
    assert saving.map_bytes(BEFORE.map) == (DISTRICT / "map.geojson").read_bytes()
    assert dump([]) == b'{"type":"FeatureCollection","features":[\n\n]}\n'
