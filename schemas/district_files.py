"""The files of a district's directory: `map.geojson`, `people.toml` and `cameras.toml`, each read by itself.

What they say of one another is `registry`'s to check.
"""

import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from schemas import geojson
from schemas.errors import RecordError, SetupError
from schemas.geojson import Feature
from schemas.grid import CameraList, Digits, District, Grid, Map, Place, Roster

_T = TypeVar("_T")

MAP_FILE: Final = "map.geojson"
PEOPLE_FILE: Final = "people.toml"
CAMERAS_FILE: Final = "cameras.toml"


class Fault(Struct, frozen=True, kw_only=True):
    """One thing wrong in a data file: where, and why."""

    file: str
    at: str  # a line, or an entry's index and id
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.at} {self.field}: {self.reason}"


def load_district(directory: Path) -> District:
    """Read the same files; what they say of one another is not checked.

    Raises:
        SetupError: a file is missing or wrong in itself.
    """
    roster = load_toml(directory / PEOPLE_FILE, Roster)
    return District(
        map=load_map(directory / MAP_FILE),
        people=roster.people,
        absences=roster.absences,
        cameras=load_toml(directory / CAMERAS_FILE, CameraList).cameras,
    )


def load_map(path: Path) -> Map:
    """Read a GeoJSON file: the digits of a feature's `id` tell whether it is district, street, village or grid.

    Raises:
        SetupError: the file is missing, or a feature is wrong; the text names every such feature and field.
    """
    try:
        raws = geojson.split(path.read_bytes())
    except (OSError, RecordError) as error:
        raise SetupError(path.name, str(error)) from error
    areas: dict[int, list[Any]] = {digits: [] for digits in Digits}
    found: list[Fault] = []
    for index, raw in enumerate(raws):
        try:
            area = area_of(geojson.feature(raw))
            areas[len(area.id)].append(area)
        except RecordError as error:
            at = f"features[{index}]"
            found.append(Fault(file=path.name, at=at, field=error.field or "feature", reason=error.detail))
    if not found and len(areas[Digits.DISTRICT]) != 1:
        reason = f"{len(areas[Digits.DISTRICT])} features have a district's 6 digits, not 1"
        found.append(Fault(file=path.name, at="features", field="id", reason=reason))
    if found:
        raise SetupError("district data", "; ".join(map(str, found)))
    return Map(
        district=areas[Digits.DISTRICT][0],
        streets=areas[Digits.STREET],
        villages=areas[Digits.VILLAGE],
        grids=areas[Digits.GRID],
    )


def area_of(feature: Feature) -> Place | Grid:
    """Return the place or grid that a feature with `id`, `name` and `name_en` describes.

    Raises:
        RecordError: a field is missing or wrong; a grid has no polygon.
    """
    ident, ring = str(feature.id), feature.ring()
    fields = (feature.properties or {}) | {"id": ident}
    try:
        if len(ident) == Digits.GRID:
            return msgspec.convert(fields | {"polygon": ring}, Grid)
        return msgspec.convert(fields | {"outline": ring}, Place)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise RecordError("invalid_field", text, path.rstrip("`") or None) from error


def load_toml(path: Path, kind: type[_T]) -> _T:
    """Read a TOML file into *kind*.

    Raises:
        SetupError: the file is missing, is not TOML, or a field is wrong; the text names file and field.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(content, kind)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise SetupError(path.name, str(error)) from error
