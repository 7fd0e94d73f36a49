"""Bring grids, people and cameras from an office's files into a district: all of a file, or nothing. Pure.

Entries are matched by id: one that is there already is replaced, a new one is added, none is removed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from infra.registry import offices
from schemas.district_files import Fault
from schemas.grid import Digits, District, Grid, Map, Place
from schemas.registry import faults


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


def people(district: District, content: bytes, file: str) -> Import:
    """Take a CSV of people; absences stay as they are."""
    read, refused = offices.people(content, file)
    merged, counted = _merge(district.people, [person for _, person in read])
    return _checked(replace(district, people=merged), counted, refused, _wheres(read), file)


def cameras(district: District, content: bytes, file: str) -> Import:
    """Take a CSV of cameras."""
    read, refused = offices.cameras(content, file)
    merged, counted = _merge(district.cameras, [camera for _, camera in read])
    return _checked(replace(district, cameras=merged), counted, refused, _wheres(read), file)


def grids(district: District, content: bytes, file: str) -> Import:
    """Take a GeoJSON FeatureCollection of grids; features of villages and streets may be among them."""
    plan = district.map
    areas: list[Place | Grid] = [plan.district, *plan.streets, *plan.villages, *plan.grids]
    known = {area.id: area for area in areas}
    read, refused = offices.areas(content, file, known)
    merged, counted = _merge(list(known.values()), [area for _, area in read])
    changed = Map(
        district=next(area for area in merged if isinstance(area, Place) and len(area.id) == Digits.DISTRICT),
        streets=[area for area in merged if isinstance(area, Place) and len(area.id) == Digits.STREET],
        villages=[area for area in merged if isinstance(area, Place) and len(area.id) == Digits.VILLAGE],
        grids=[area for area in merged if isinstance(area, Grid)],
    )
    return _checked(replace(district, map=changed), counted, refused, _wheres(read), file)


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
