"""The district's files, written: whole or not at all, one import at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shutil import copymode
from typing import Any

import msgspec
import tomli_w

from schemas import geojson
from schemas.district_files import CAMERAS_FILE, MAP_FILE, PEOPLE_FILE
from schemas.errors import SetupError
from schemas.grid import CameraList, District, Grid, Map, Place, Roster


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
