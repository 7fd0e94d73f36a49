"""The district as data: streets, villages, grids, people, absences, cameras.

Grid ids are 15 digits whose prefixes are the ids of village (12), street (9) and district (6).
"""

from enum import IntEnum, StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import CameraId, GridId, Instant, Latitude, Longitude, PersonId


class Digits(IntEnum):
    """How many digits the code of an area has, smallest area first."""

    GRID = 15
    VILLAGE = 12
    STREET = 9
    DISTRICT = 6


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
