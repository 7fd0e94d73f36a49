"""The district as data: streets, villages, grids, people, absences, cameras; validated on load.

`map.geojson`, `people.toml` and `cameras.toml` of a district directory become one `Registry`.
Grid ids are 15 digits whose prefixes are the ids of village (12), street (9) and district (6);
a registry in which anything disagrees cannot be built, and the error says where each fault is.
"""

import tomllib
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas import geojson
from schemas.errors import RecordError, SetupError
from schemas.fields import CameraId, GridId, Instant, Latitude, Longitude, PersonId
from schemas.geojson import Feature

_T = TypeVar("_T")

MAP_FILE: Final = "map.geojson"
PEOPLE_FILE: Final = "people.toml"
CAMERAS_FILE: Final = "cameras.toml"

Ring = Annotated[
    list[tuple[Longitude, Latitude]],
    Meta(min_length=3, description="corners in WGS-84, the first not repeated at the end"),
]
AreaCode = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{6}([0-9]{3}){0,3}$",
        description="code of a district (6 digits), street (9), village (12) or grid (15)",
    ),
]


class Role(StrEnum):
    """Who a person is in the network, lowest rung first."""

    PART_TIME = "part_time"  # 兼职网格员, one grid each
    FULL_TIME = "full_time"  # 专职网格员, of a village
    GRID_HEAD = "grid_head"  # 网格长, the village's party secretary
    GUIDE = "guide"  # 网格指导员
    POLICE = "police"  # 民警
    VILLAGE_CENTRE = "village_centre"  # 村级网格化服务管理中心
    STREET_CENTRE = "street_centre"  # 街道综治中心
    DISTRICT_CENTRE = "district_centre"  # 区综治中心
    DEPARTMENT = "department"  # 职能部门


_GRID, _VILLAGE, _STREET, _DISTRICT = 15, 12, 9, 6  # digits of an area's code
# 「每人负责一个网格」 of the part-time workers; the rest serve what the article's network gives them.
_SERVES: Final = {
    Role.PART_TIME: (_GRID,),
    Role.FULL_TIME: (_VILLAGE,),
    Role.GRID_HEAD: (_VILLAGE,),
    Role.GUIDE: (_VILLAGE, _STREET),
    Role.POLICE: (_VILLAGE, _STREET),
    Role.VILLAGE_CENTRE: (_VILLAGE,),
    Role.STREET_CENTRE: (_STREET,),
    Role.DISTRICT_CENTRE: (_DISTRICT,),
    Role.DEPARTMENT: (_DISTRICT,),
}


class Place(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The district, a street or a village."""

    id: Annotated[str, Meta(pattern=r"^[0-9]{6}([0-9]{3}([0-9]{3})?)?$")]
    name: str
    name_en: str
    outline: Ring | None = None  # its official boundary, when known: what its grids must cover


class Grid(Struct, frozen=True, kw_only=True):
    """One grid (网格): the key of every topic."""

    id: GridId
    name: str
    name_en: str
    polygon: Ring

    @property
    def village_id(self) -> str:
        """Return the 12-digit code of the village this grid belongs to."""
        return self.id[:12]


class Person(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One member of the roster; names are made up and stay out of every topic."""

    id: PersonId
    name: str | None = None  # not in what is published
    role: Role
    area: AreaCode
    department: Annotated[str, Meta(min_length=1)] | None = None  # 职能部门, as the catalogue names it


class Absence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody is away in [since, until), and who stands in; without a substitute nobody does."""

    person: PersonId
    since: Instant
    until: Instant
    substitute: PersonId | None = None


class Camera(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera (智慧眼 point): a source that a reader connects to. Credentials live in settings."""

    id: CameraId
    grid_id: GridId
    name: str
    url: Annotated[
        str, Meta(pattern=r"^rtspt?://[^@]+$", description="rtsp = UDP, rtspt = TCP; never with credentials")
    ]
    location: tuple[Longitude, Latitude]


class Roster(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `people.toml`."""

    people: list[Person]
    absences: list[Absence] = []


class CameraList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `cameras.toml`."""

    cameras: list[Camera]


class Map(Struct, frozen=True, kw_only=True):
    """The content of `map.geojson`, features by level."""

    district: Place
    streets: list[Place]
    villages: list[Place]
    grids: list[Grid]


class District(Struct, frozen=True, kw_only=True):
    """Everything a registry is made of: what travels on `reference`."""

    map: Map
    people: list[Person]
    absences: list[Absence]
    cameras: list[Camera]


class Fault(Struct, frozen=True, kw_only=True):
    """One thing wrong in a data file: where, and why."""

    file: str
    at: str  # a line, or an entry's index and id
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.at} {self.field}: {self.reason}"


class Registry:
    """A district whose parts agree with one another.

    Raises:
        SetupError: an id repeats, points to something that is not there, or a role does not
            serve such an area; the text names file, entry and field of every fault.
    """

    def __init__(self, content: District) -> None:
        found = list(faults(content))
        if found:
            raise SetupError("district data", "; ".join(map(str, found)))
        self.content = content
        self.cameras = {camera.id: camera for camera in content.cameras}
        self.grids = {grid.id: grid for grid in content.map.grids}
        self.people = {person.id: person for person in content.people}
        self.places = {place.id: place for place in _places(content.map)}
        self._served: dict[tuple[str, Role], list[Person]] = {}
        self._of_area: dict[tuple[str, Role], list[Person]] = {}
        for person in content.people:
            self._of_area.setdefault((person.area, person.role), []).append(person)
        self._away: dict[str, list[Absence]] = {}
        self._replaces: dict[str, list[Absence]] = {}
        for absence in content.absences:
            self._away.setdefault(absence.person, []).append(absence)
            if absence.substitute is not None:
                self._replaces.setdefault(absence.substitute, []).append(absence)

    @cached_property
    def cameras_of(self) -> dict[str, list[Camera]]:
        """Return the cameras of each grid that has any."""
        found: dict[str, list[Camera]] = {}
        for camera in self.cameras.values():
            found.setdefault(camera.grid_id, []).append(camera)
        return found

    def people_for(self, grid_id: str, role: Role) -> list[Person]:
        """Return who serves *grid_id* in *role*, those of the smallest area first.

        Their area's code is a prefix of the grid's.
        """
        found = self._served.get((grid_id, role))
        if found is None:
            areas = (grid_id[:digits] for digits in (_GRID, _VILLAGE, _STREET, _DISTRICT))
            people = [person for area in areas for person in self._of_area.get((area, role), ())]
            found = self._served[grid_id, role] = people
        return found

    def serves(self, person_id: str, grid_id: str, at: datetime | None = None) -> bool:
        """Tell whether the person is on the roster for an area that holds *grid_id*.

        With *at*, also whether they stand in then for somebody who is.
        """
        person = self.people.get(person_id)
        if person is None:
            return False
        return grid_id.startswith(person.area) or (at is not None and self._stands_in(person_id, grid_id, at))

    def _stands_in(self, person_id: str, grid_id: str, at: datetime) -> bool:
        away = (absence.person for absence in self._replaces.get(person_id, ()))
        return any(grid_id.startswith(self.people[p].area) and self.on_duty(p, at) == person_id for p in away)

    def on_duty(self, person_id: str, at: datetime) -> str | None:
        """Return who acts for the person at *at*: they themselves, or while away their substitute.

        A substitute who is away has theirs. None: nobody is named, or the last one named is away
        without a substitute.
        """
        seen: set[str] = set()
        acting: str | None = person_id
        while acting is not None and acting in self._away and acting not in seen:
            seen.add(acting)
            absence = next((a for a in self._away[acting] if a.since <= at < a.until), None)
            if absence is None:
                return acting
            acting = absence.substitute
        return None if acting in seen else acting


def registry_hash(content: District) -> str:
    """Return the content address of a district: 16 hex digits of SHA-256 over its canonical JSON."""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def faults(content: District) -> Iterator[Fault]:
    """Yield everything in which the parts of a district disagree."""
    plan = content.map
    areas = {plan.district.id, *(p.id for p in plan.streets), *(p.id for p in plan.villages)}
    areas.update(grid.id for grid in plan.grids)
    yield from _map_faults(plan)
    yield from _people_faults(content.people, areas)
    yield from _absence_faults(content)
    yield from _camera_faults(content.cameras, {grid.id for grid in plan.grids})


def _places(plan: Map) -> list[Place]:
    return [plan.district, *plan.streets, *plan.villages]


def _map_faults(plan: Map) -> Iterator[Fault]:
    idents = [*(place.id for place in _places(plan)), *(grid.id for grid in plan.grids)]
    ids = [(f"feature {ident}", ident) for ident in idents]
    yield from _repeated(MAP_FILE, ids)
    known = set(idents)
    for at, ident in ids:
        if len(ident) > _DISTRICT and ident[:-3] not in known:
            yield Fault(file=MAP_FILE, at=at, field="id", reason=f"has no parent {ident[:-3]}")


def _people_faults(people: list[Person], areas: Collection[str]) -> Iterator[Fault]:
    entries = [(f"people[{i}] {p.id}", p) for i, p in enumerate(people)]
    yield from _repeated(PEOPLE_FILE, ((at, p.id) for at, p in entries))
    for at, person in entries:
        digits = _SERVES[person.role]
        if person.area not in areas:
            yield Fault(file=PEOPLE_FILE, at=at, field="area", reason=f"unknown area {person.area}")
        elif len(person.area) not in digits:
            wanted = " or ".join(map(str, digits))
            reason = f"{person.role} serves an area of {wanted} digits, {person.area} has {len(person.area)}"
            yield Fault(file=PEOPLE_FILE, at=at, field="area", reason=reason)
        if (person.role is Role.DEPARTMENT) != (person.department is not None):
            reason = "is needed with role department, and with no other"
            yield Fault(file=PEOPLE_FILE, at=at, field="department", reason=reason)


def _absence_faults(content: District) -> Iterator[Fault]:
    people = {person.id for person in content.people}
    by_person: dict[str, list[tuple[int, Absence]]] = {}
    for index, absence in enumerate(content.absences):
        by_person.setdefault(absence.person, []).append((index, absence))
        for field, reason in _absence_reasons(absence, people):
            yield _absence_fault(index, absence, field, reason)
    for entries in by_person.values():
        for (_, one), (index, next_one) in pairwise(sorted(entries, key=lambda entry: entry[1].since)):
            if next_one.since < one.until:
                yield _absence_fault(index, next_one, "since", f"before the absence of {one.since.isoformat()} ends")


def _absence_reasons(absence: Absence, people: Collection[str]) -> Iterator[tuple[str, str]]:
    if absence.person not in people:
        yield "person", f"{absence.person} is not on the roster"
    if absence.substitute is not None and absence.substitute not in people:
        yield "substitute", f"{absence.substitute} is not on the roster"
    if absence.substitute == absence.person:
        yield "substitute", "nobody stands in for themselves"
    if absence.until <= absence.since:
        yield "until", "is not after since"


def _absence_fault(index: int, absence: Absence, field: str, reason: str) -> Fault:
    return Fault(file=PEOPLE_FILE, at=f"absences[{index}] {absence.person}", field=field, reason=reason)


def _camera_faults(cameras: list[Camera], grids: Collection[str]) -> Iterator[Fault]:
    entries = [(f"cameras[{i}] {c.id}", c) for i, c in enumerate(cameras)]
    yield from _repeated(CAMERAS_FILE, ((at, c.id) for at, c in entries))
    for at, camera in entries:
        if camera.grid_id not in grids:
            yield Fault(file=CAMERAS_FILE, at=at, field="grid_id", reason=f"unknown grid {camera.grid_id}")


def _repeated(file: str, entries: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    seen: set[str] = set()
    for at, ident in entries:
        if ident in seen:
            yield Fault(file=file, at=at, field="id", reason=f"{ident} is there already")
        seen.add(ident)


def load_registry(directory: Path) -> Registry:
    """Read `map.geojson`, `people.toml` and `cameras.toml` of *directory*.

    Raises:
        SetupError: a file is missing or wrong; the text names file, entry and field.
    """
    return Registry(load_district(directory))


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
    areas: dict[int, list[Any]] = {digits: [] for digits in (_DISTRICT, _STREET, _VILLAGE, _GRID)}
    found: list[Fault] = []
    for index, raw in enumerate(raws):
        try:
            area = area_of(geojson.feature(raw))
            areas[len(area.id)].append(area)
        except RecordError as error:
            at = f"features[{index}]"
            found.append(Fault(file=path.name, at=at, field=error.field or "feature", reason=error.detail))
    if not found and len(areas[_DISTRICT]) != 1:
        reason = f"{len(areas[_DISTRICT])} features have a district's 6 digits, not 1"
        found.append(Fault(file=path.name, at="features", field="id", reason=reason))
    if found:
        raise SetupError("district data", "; ".join(map(str, found)))
    return Map(district=areas[_DISTRICT][0], streets=areas[_STREET], villages=areas[_VILLAGE], grids=areas[_GRID])


def area_of(feature: Feature) -> Place | Grid:
    """Return the place or grid that a feature with `id`, `name` and `name_en` describes.

    Raises:
        RecordError: a field is missing or wrong; a grid has no polygon.
    """
    ident, ring = str(feature.id), feature.ring()
    fields = (feature.properties or {}) | {"id": ident}
    try:
        if len(ident) == _GRID:
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
