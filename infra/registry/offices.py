"""Files as offices write them, read into people, cameras, places and grids. Pure.

A CSV file may be UTF-8 (with Excel's byte order mark or without) or GB18030, separated by commas,
semicolons or tabs, its headers Chinese or English. Whatever cannot be taken is a `Fault` that names
line, column and reason, never the value: a camera's address may hold a password.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, Final, TypeVar

import msgspec
import shapely
from msgspec.structs import replace
from shapely.geometry import Polygon

from schemas import geojson
from schemas.district_files import Fault, area_of
from schemas.errors import RecordError, SetupError
from schemas.geojson import Feature
from schemas.grid import Camera, Grid, Person, Place, Role

_V = TypeVar("_V")
Read = tuple[list[tuple[str, _V]], list[Fault]]  # (where, value) of what can be read, and what cannot

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


def people(content: bytes, file: str) -> Read[Person]:
    """Read a CSV of people."""
    return _rows(content, file, _PEOPLE, _person)


def cameras(content: bytes, file: str) -> Read[Camera]:
    """Read a CSV of cameras."""
    return _rows(content, file, _CAMERAS, _camera)


def _rows(
    content: bytes, file: str, columns: Sequence[tuple[str, ...]], build: Callable[[dict[str, str]], _V]
) -> Read[_V]:
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


def areas(content: bytes, file: str, known: Mapping[str, Place | Grid]) -> Read[Place | Grid]:
    """Read a GeoJSON FeatureCollection; what a feature leaves out stays as it is in *known*."""
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
