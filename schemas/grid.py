"""The district as data: streets, villages, grids, people, cameras; validated on load.

`district.toml` and `cameras.toml` of a district directory become one `Registry`.
Grid ids are 15 digits whose prefixes are the ids of village (12), street (9) and
district (6); a registry in which they disagree cannot be built.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas.errors import SetupError
from schemas.fields import CameraId, GridId, Latitude, Longitude, PersonId

_T = TypeVar("_T")


class Role(StrEnum):
    """Who a person is in the network, lowest rung first."""

    PART_TIME = "part_time"  # 兼职网格员, one grid each
    FULL_TIME = "full_time"  # 专职网格员, of a village
    GRID_HEAD = "grid_head"  # 网格长, the village's party secretary
    GUIDE = "guide"  # 网格指导员
    POLICE = "police"  # 民警
    STREET_CENTRE = "street_centre"  # 街道综治中心
    DISTRICT_CENTRE = "district_centre"  # 区综治中心
    DEPARTMENT = "department"  # 职能部门


class Place(Struct, frozen=True, kw_only=True):
    """A street or a village."""

    id: Annotated[str, Meta(pattern=r"^[0-9]{6}([0-9]{3}([0-9]{3})?)?$")]
    name: str
    name_en: str


class Grid(Struct, frozen=True, kw_only=True):
    """One grid (网格): the key of every topic."""

    id: GridId
    name: str
    name_en: str
    polygon: Annotated[list[tuple[Longitude, Latitude]], Meta(min_length=3)]

    @property
    def village_id(self) -> str:
        """Return the 12-digit code of the village this grid belongs to."""
        return self.id[:12]


class Person(Struct, frozen=True, kw_only=True):
    """One member of the roster; names are made up and stay out of every topic."""

    id: PersonId
    name: str
    role: Role
    area: Annotated[str, Meta(pattern=r"^[0-9]{6,15}$", description="code of the area served")]


class Camera(Struct, frozen=True, kw_only=True):
    """One camera (智慧眼 point): a source that a reader connects to. Credentials live in settings."""

    id: CameraId
    grid_id: GridId
    name: str
    url: Annotated[
        str, Meta(pattern=r"^rtspt?://[^@]+$", description="rtsp = UDP, rtspt = TCP; never with credentials")
    ]
    location: tuple[Longitude, Latitude]


class District(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `district.toml`."""

    district: Place
    streets: list[Place]
    villages: list[Place]
    grids: list[Grid]
    people: list[Person]


class CameraList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `cameras.toml`."""

    cameras: list[Camera]


class Registry:
    """A district whose parts agree with one another.

    Raises:
        SetupError: an id repeats, or points to a grid, village or street that is not there.
    """

    def __init__(self, district: District, cameras: CameraList) -> None:
        self.district, self.cameras = district, {camera.id: camera for camera in cameras.cameras}
        self.grids = {grid.id: grid for grid in district.grids}
        self.people = {person.id: person for person in district.people}
        self._served: dict[tuple[str, Role], list[Person]] = {}
        self.places = {place.id: place for place in [district.district, *district.streets, *district.villages]}
        problems = list(_problems(district, cameras))
        if problems:
            raise SetupError("district data", "; ".join(problems))

    @cached_property
    def cameras_of(self) -> dict[str, list[Camera]]:
        """Return the cameras of each grid that has any."""
        found: dict[str, list[Camera]] = {}
        for camera in self.cameras.values():
            found.setdefault(camera.grid_id, []).append(camera)
        return found

    def people_for(self, grid_id: str, role: Role) -> list[Person]:
        """Return who serves *grid_id* in *role*: their area's code is a prefix of the grid's."""
        found = self._served.get((grid_id, role))
        if found is None:
            people = [p for p in self.district.people if p.role is role and grid_id.startswith(p.area)]
            found = self._served[grid_id, role] = people
        return found

    def serves(self, person_id: str, grid_id: str) -> bool:
        """Tell whether the person is on the roster for an area that holds *grid_id*."""
        person = self.people.get(person_id)
        return person is not None and grid_id.startswith(person.area)


def _problems(district: District, cameras: CameraList) -> Iterator[str]:
    grids, villages = {g.id for g in district.grids}, {v.id for v in district.villages}
    streets = {s.id for s in district.streets}
    for what, ids in (
        ("grid", [g.id for g in district.grids]),
        ("person", [p.id for p in district.people]),
        ("camera", [c.id for c in cameras.cameras]),
    ):
        yield from (f"{what} {i} appears {n} times" for i, n in Counter(ids).items() if n > 1)
    yield from _orphans("grid", grids, 12, villages)
    yield from _orphans("village", villages, 9, streets)
    yield from _orphans("street", streets, 6, {district.district.id})
    yield from (f"camera {c.id} stands in unknown grid {c.grid_id}" for c in cameras.cameras if c.grid_id not in grids)
    areas = grids | villages | streets | {district.district.id}
    yield from (f"person {p.id} serves unknown area {p.area}" for p in district.people if p.area not in areas)


def _orphans(what: str, ids: Iterable[str], length: int, parents: set[str]) -> Iterator[str]:
    yield from (f"{what} {i} has no parent {i[:length]}" for i in sorted(ids) if i[:length] not in parents)


def load_registry(directory: Path) -> Registry:
    """Read `district.toml` and `cameras.toml` of *directory*.

    Raises:
        SetupError: a file is missing or wrong; the text names file and field.
    """
    return Registry(
        load_toml(directory / "district.toml", District),
        load_toml(directory / "cameras.toml", CameraList),
    )


def load_toml(path: Path, kind: type[_T]) -> _T:
    """Read a TOML file into *kind*.

    Raises:
        SetupError: the file is missing, is not TOML, or a field is wrong; the text names file and field.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(content, kind)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SetupError(path.name, str(error)) from error
