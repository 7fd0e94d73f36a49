"""A district whose parts agree: who serves which grid, who stands in, which cameras watch.

A registry in which anything disagrees cannot be built, and the error says where each fault is.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from schemas.district_files import CAMERAS_FILE, MAP_FILE, PEOPLE_FILE, Fault, load_district
from schemas.errors import SetupError
from schemas.grid import Absence, Camera, Digits, District, Map, Person, Place, Role

# 「每人负责一个网格」 of the part-time workers; the rest serve what the article's network gives them.
_SERVES: Final = {
    Role.PART_TIME: (Digits.GRID,),
    Role.FULL_TIME: (Digits.VILLAGE,),
    Role.GRID_HEAD: (Digits.VILLAGE,),
    Role.GUIDE: (Digits.VILLAGE, Digits.STREET),
    Role.POLICE: (Digits.VILLAGE, Digits.STREET),
    Role.VILLAGE_CENTRE: (Digits.VILLAGE,),
    Role.STREET_CENTRE: (Digits.STREET,),
    Role.DISTRICT_CENTRE: (Digits.DISTRICT,),
    Role.DEPARTMENT: (Digits.DISTRICT,),
}


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
            areas = (grid_id[:digits] for digits in Digits)
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


def load_registry(directory: Path) -> Registry:
    """Read `map.geojson`, `people.toml` and `cameras.toml` of *directory*.

    Raises:
        SetupError: a file is missing or wrong; the text names file, entry and field.
    """
    return Registry(load_district(directory))


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
        if len(ident) > Digits.DISTRICT and ident[:-3] not in known:
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
