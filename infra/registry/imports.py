"""Bring grids, people and cameras from an office's files into a district: all of a file, or nothing.

Entries are matched by id: one that is there already is replaced, a new one is added, none is removed.
A CSV file may be UTF-8 (with Excel's byte order mark or without) or GB18030, separated by commas,
semicolons or tabs, its headers Chinese or English. Whatever cannot be taken is a `Fault` that names
line, column and reason, never the value: a camera's address may hold a password.
"""

import csv
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from pathlib import Path
from shutil import copymode
from typing import Any, Final, Protocol, TypeVar

import msgspec
import shapely
import tomli_w
from msgspec import Struct
from msgspec.structs import replace
from shapely.geometry import Polygon

from schemas import geojson
from schemas.district_files import CAMERAS_FILE, MAP_FILE, PEOPLE_FILE, Fault, area_of
from schemas.errors import RecordError, SetupError
from schemas.geojson import Feature
from schemas.grid import Camera, CameraList, District, Grid, Map, Person, Place, Role, Roster
from schemas.registry import faults

_GRID_CODE: Final = ("grid_id", "网格编码", "网格编号", "网格代码")
_CODE: Final = ("id", "code", "编码", "编号", "代码")
_NAME: Final = ("name", "名称")
# The first name of each is the field; the others are what offices write above it.
_PEOPLE: Final = (
    ("id", "编号", "工号", "人员编号"),
    ("name", "姓名"),
    ("role", "角色", "岗位", "身份"),
    ("area", "负责区域", "区域编码", *_GRID_CODE),
    ("department", "部门", "职能部门", "所属部门"),
)
_CAMERAS: Final = (
    ("id", "编号", "点位编号", "摄像头编号"),
    _GRID_CODE,
    ("name", "名称", "点位名称", "摄像头名称"),
    ("url", "地址", "取流地址"),
    ("longitude", "lon", "lng", "经度"),
    ("latitude", "lat", "纬度"),
)
_ROLES: Final = {
    "兼职网格员": Role.PART_TIME,
    "专职网格员": Role.FULL_TIME,
    "网格长": Role.GRID_HEAD,
    "网格指导员": Role.GUIDE,
    "民警": Role.POLICE,
    "村级网格化服务管理中心": Role.VILLAGE_CENTRE,
    "村级中心": Role.VILLAGE_CENTRE,
    "街道综治中心": Role.STREET_CENTRE,
    "区综治中心": Role.DISTRICT_CENTRE,
    "职能部门": Role.DEPARTMENT,
}
_ROUNDED: Final = re.compile(r"[0-9.]+[eE]\+[0-9]+")  # Excel keeps 15 digits as 6.10117E+14
_OPTIONAL: Final = frozenset({"department"})


class Import(Struct, frozen=True, kw_only=True):
    """What an import would do; with any fault it does nothing."""

    district: District
    added: int
    replaced: int
    unchanged: int
    faults: list[Fault]


class _Entry(Protocol):
    @property
    def id(self) -> str: ...


_E = TypeVar("_E", bound=_Entry)
_V = TypeVar("_V")
_Read = tuple[list[tuple[str, _V]], list[Fault]]  # (where, value) of what can be read, and what cannot


def people(district: District, content: bytes, file: str) -> Import:
    """Take a CSV of people; absences stay as they are."""
    read, refused = _rows(content, file, _PEOPLE, _person)
    merged, counted = _merge(district.people, [person for _, person in read])
    return _checked(replace(district, people=merged), counted, refused, _wheres(read), file)


def cameras(district: District, content: bytes, file: str) -> Import:
    """Take a CSV of cameras."""
    read, refused = _rows(content, file, _CAMERAS, _camera)
    merged, counted = _merge(district.cameras, [camera for _, camera in read])
    return _checked(replace(district, cameras=merged), counted, refused, _wheres(read), file)


def grids(district: District, content: bytes, file: str) -> Import:
    """Take a GeoJSON FeatureCollection of grids; features of villages and streets may be among them."""
    plan = district.map
    areas: list[Place | Grid] = [plan.district, *plan.streets, *plan.villages, *plan.grids]
    known = {area.id: area for area in areas}
    read, refused = _features(content, file, known)
    merged, counted = _merge(list(known.values()), [area for _, area in read])
    changed = Map(
        district=next(area for area in merged if isinstance(area, Place) and len(area.id) == 6),
        streets=[area for area in merged if isinstance(area, Place) and len(area.id) == 9],
        villages=[area for area in merged if isinstance(area, Place) and len(area.id) == 12],
        grids=[area for area in merged if isinstance(area, Grid)],
    )
    return _checked(replace(district, map=changed), counted, refused, _wheres(read), file)


def save(directory: Path, before: District, after: District) -> list[str]:
    """Write the files in which *after* differs; return their names.

    Each file is complete on disk under another name before it takes the place of the old one, so a
    reader, or a start after a power cut, sees the old file or the new one. Comments at a TOML
    file's head are kept, and so are the file's permissions.

    Raises:
        SetupError: a file cannot be written; it is as it was.
    """
    contents = {}
    if after.map != before.map:
        contents[MAP_FILE] = map_bytes(after.map)
    if (after.people, after.absences) != (before.people, before.absences):
        roster = Roster(people=after.people, absences=after.absences)
        contents[PEOPLE_FILE] = _toml(directory / PEOPLE_FILE, roster)
    if after.cameras != before.cameras:
        contents[CAMERAS_FILE] = _toml(directory / CAMERAS_FILE, CameraList(cameras=after.cameras))
    for name, content in contents.items():
        try:
            _replace(directory / name, content)
        except OSError as error:
            raise SetupError(name, f"cannot be written: {error.strerror}") from error
    return list(contents)


def map_bytes(plan: Map) -> bytes:
    """Return `map.geojson`: district, streets, villages, grids, each level in its own order."""
    places = [(place, place.outline) for place in [plan.district, *plan.streets, *plan.villages]]
    areas: list[tuple[Place | Grid, Any]] = [*places, *((grid, grid.polygon) for grid in plan.grids)]
    return geojson.dump([(area.id, {"name": area.name, "name_en": area.name_en}, ring) for area, ring in areas])


# -- reading ----------------------------------------------------------------------------------


def _rows(
    content: bytes, file: str, columns: Sequence[tuple[str, ...]], build: Callable[[dict[str, str]], _V]
) -> _Read[_V]:
    reader = csv.reader(StringIO(_text(content, file), newline=""), _dialect(content))
    read, refused = [], []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        places = {names[0]: _column(header, names, file) for names in columns}
        line = reader.line_num + 1
        for row in reader:
            at, line = f"line {line}", reader.line_num + 1
            cells = {name: row[i].strip() for name, i in places.items() if i is not None and i < len(row)}
            try:
                if any(cells.values()):
                    read.append((at, build(_filled(cells, places))))
            except RecordError as error:
                refused.append(Fault(file=file, at=at, field=error.field or "row", reason=error.detail))
    except csv.Error as error:
        raise SetupError(file, f"line {reader.line_num}: {error}") from error
    return read, refused


def _filled(cells: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the cells that hold something.

    Raises:
        RecordError: one that is needed is empty, or a spreadsheet has rounded a code.
    """
    for name in names:
        cell = cells.get(name, "")
        if not cell and name not in _OPTIONAL:
            raise RecordError("invalid_field", "is empty", name)
        if _ROUNDED.fullmatch(cell):
            raise RecordError("invalid_field", "is a number that a spreadsheet has rounded: make the column text", name)
    return {name: cell for name, cell in cells.items() if cell}


def _text(content: bytes, file: str) -> str:
    """Decode a file of an office: UTF-8 if it is that, else GB18030, which Chinese Excel writes."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("gb18030")
    except UnicodeDecodeError as error:
        raise SetupError(file, "is neither UTF-8 nor GB18030") from error


def _dialect(content: bytes) -> type[csv.Dialect]:
    head = content.partition(b"\n")[0]

    class _Office(csv.excel):
        strict = True
        delimiter = max(",;\t", key=lambda mark: head.count(mark.encode()))

    return _Office


def _column(header: list[str], names: tuple[str, ...], file: str) -> int | None:
    found = [i for i, name in enumerate(header) if name in names]
    if len(found) > 1:
        raise SetupError(file, f"line 1: {len(found)} columns are {names[0]}: {', '.join(header[i] for i in found)}")
    if not found and names[0] not in _OPTIONAL:
        raise SetupError(file, f"line 1: no column is {names[0]} ({', '.join(names[1:])})")
    return found[0] if found else None


def _person(cells: dict[str, str]) -> Person:
    role = cells.get("role", "")
    return _convert(cells | {"role": _ROLES.get(role, role)}, Person)


def _camera(cells: dict[str, str]) -> Camera:
    location = [_degrees(cells, "longitude"), _degrees(cells, "latitude")]
    rest = {name: cell for name, cell in cells.items() if name not in ("longitude", "latitude")}
    return _convert(rest | {"location": location}, Camera)


def _degrees(cells: Mapping[str, str], name: str) -> float:
    try:
        degrees = float(cells[name])
    except ValueError as error:
        raise RecordError("invalid_field", "is no number", name) from error
    if not abs(degrees) <= (180 if name == "longitude" else 90):  # so that NaN is none either
        raise RecordError("invalid_field", "is out of range", name)
    return degrees


def _convert(fields: dict[str, Any], kind: type[_V]) -> _V:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise RecordError("invalid_field", text, path.rstrip("`") or None) from error


def _features(content: bytes, file: str, known: Mapping[str, Place | Grid]) -> _Read[Place | Grid]:
    try:
        raws = geojson.split(content)
    except RecordError as error:
        raise SetupError(file, str(error)) from error
    read: list[tuple[str, Place | Grid]] = []
    refused = []
    for index, raw in enumerate(raws):
        at = f"features[{index}]"
        try:
            read.append((at, _area(geojson.feature(raw), known)))
        except RecordError as error:
            refused.append(Fault(file=file, at=at, field=error.field or "feature", reason=error.detail))
    return read, refused


def _area(feature: Feature, known: Mapping[str, Place | Grid]) -> Place | Grid:
    """Return what a feature of an office's map describes; what it leaves out stays as it is."""
    given = {str(name).strip().lower(): value for name, value in (feature.properties or {}).items()}
    ident = str(feature.id or _first(given, (*_GRID_CODE, *_CODE)) or "")
    before = known.get(ident)
    name = _first(given, (*_NAME, "网格名称")) or (before.name if before else None)
    english = _first(given, ("name_en", "英文名称")) or (before.name_en if before else name)
    area = area_of(replace(feature, id=ident, properties={"name": name, "name_en": english}))
    if before is None and len(area.id) == 6:
        raise RecordError("invalid_field", "is the code of another district", "id")
    ring = area.polygon if isinstance(area, Grid) else area.outline
    if ring is None:
        return replace(area, outline=before.outline) if isinstance(before, Place) else area
    reason = shapely.is_valid_reason(Polygon(ring))
    if reason != "Valid Geometry":
        raise RecordError("invalid_field", reason, "geometry")
    return area


def _first(given: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((given[name] for name in names if given.get(name) not in (None, "")), None)


# -- merging ----------------------------------------------------------------------------------


class _Counted(Struct, frozen=True, kw_only=True):
    added: int
    replaced: int
    unchanged: int


def _merge(present: Sequence[_E], read: Iterable[_E]) -> tuple[list[_E], _Counted]:
    merged = {entry.id: entry for entry in present}
    added = replaced = unchanged = 0
    for entry in read:
        before = merged.get(entry.id)
        added += before is None
        unchanged += before == entry
        replaced += before not in (None, entry)
        merged[entry.id] = entry
    return list(merged.values()), _Counted(added=added, replaced=replaced, unchanged=unchanged)


def _wheres(read: Iterable[tuple[str, _Entry]]) -> list[tuple[str, str]]:
    return [(entry.id, at) for at, entry in read]


def _checked(
    after: District, counted: _Counted, refused: list[Fault], wheres: list[tuple[str, str]], file: str
) -> Import:
    """Check the district as it would be; what an imported entry breaks is told by its own line."""
    at = dict(wheres)
    found = [*refused, *_repeated(wheres, file)]
    for fault in faults(after):
        ident = fault.at.rpartition(" ")[2]
        found.append(replace(fault, file=file, at=f"{at[ident]} {ident}") if ident in at else fault)
    return Import(
        district=after, added=counted.added, replaced=counted.replaced, unchanged=counted.unchanged, faults=found
    )


def _repeated(wheres: Iterable[tuple[str, str]], file: str) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for ident, at in wheres:
        if ident in first:
            yield Fault(file=file, at=at, field="id", reason=f"{ident} is on {first[ident]} already")
        first.setdefault(ident, at)


# -- writing ----------------------------------------------------------------------------------


def _toml(path: Path, content: Roster | CameraList) -> bytes:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    ends = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return ("".join(lines[:ends]) + tomli_w.dumps(_plain(content))).encode()


def _plain(content: Any) -> dict[str, Any]:
    # Instants stay instants: TOML has them. None is left out: TOML has it not.
    fields: dict[str, Any] = msgspec.to_builtins(content, builtin_types=(datetime,))
    return fields


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other imports out of the district: what two of them read at once, one would write over.

    Raises:
        SetupError: there is no such directory.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SetupError(str(directory), error.strerror or "cannot be read") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        copymode(path, beside)
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
