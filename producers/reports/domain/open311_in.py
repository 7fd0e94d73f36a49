"""Open311 GeoReport v2, what comes in: its forms as our submissions and moves, its queries. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from producers.reports.domain.open311 import OCCURRED, URGENCY, VISIBILITY, status
from producers.reports.domain.submission import Contact, ReporterRequest, ReportersMove, Source, Submission
from producers.reports.domain.wire import Moment, checked
from schemas.cases import Case, Satisfaction, Stage
from schemas.errors import RecordError
from schemas.fields import GridId, Instant, ItemCode, Latitude, Longitude, MediaRef, Text
from schemas.ground import Ground
from schemas.policy import Policy
from schemas.registry import Registry
from schemas.reports import Location, Urgency, Visibility

MAX_ROWS: Final = 1000
LONGEST: Final = timedelta(days=90)

_UPDATES = {"OPEN": ReportersMove.REOPEN, "FIXED": ReportersMove.FEEDBACK, "CLOSED": ReportersMove.FEEDBACK}

ApiKey = Annotated[str, Meta(max_length=80)]


class Form(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `POST requests` takes; clients send more, which is left alone."""

    api_key: ApiKey | None = None
    service_code: str | None = None
    lat: str | None = None
    long: str | None = None
    address_string: str | None = None
    address_id: str | None = None
    description: str | None = None
    media_url: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    email: str | None = None
    urgency: str | None = msgspec.field(default=None, name=f"attribute[{URGENCY}]")
    occurred: str | None = msgspec.field(default=None, name=f"attribute[{OCCURRED}]")
    visibility: str | None = msgspec.field(default=None, name=f"attribute[{VISIBILITY}]")


class UpdateForm(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `POST servicerequestupdates` takes; names and addresses that clients send along are left alone."""

    api_key: ApiKey | None = None
    service_request_id: str | None = None
    update_id: str | None = None
    status: str | None = None
    description: str | None = None


class Query(Struct, frozen=True, kw_only=True):
    """Which requests are asked for; bounds are half-open."""

    ids: frozenset[str]
    codes: frozenset[str]
    statuses: frozenset[str]
    since: datetime
    until: datetime
    first: int
    count: int


# -- forms -------------------------------------------------------------------------------------


def submission(
    form: Mapping[str, str], *, registry: Registry, ground: Ground, policy: Policy, now: datetime
) -> Submission:
    """Return what a form of `POST requests` reports; its coordinates are WGS-84, as the standard says.

    Raises:
        RecordError: a field is missing or wrong; `field` says which.
    """
    code = checked(_asked(form, "service_code"), ItemCode, "service_code")
    if code not in policy.items:
        raise RecordError("unknown_service", f"no service {code}", "service_code")
    location = _location(form)
    return msgspec.convert(
        {
            "grid_id": _grid_id(form, location, registry, ground),
            "item_code": code,
            "channel": Source.RESIDENT,
            "occurred_at": _answered(form, OCCURRED, Moment, now.isoformat()),
            "description": _within(form, "description", 4000),
            "urgency": _answered(form, URGENCY, Urgency, Urgency.NORMAL),
            "visibility": _answered(form, VISIBILITY, Visibility, Visibility.PUBLIC),
            "location": location,
            "reporter": _contact(form),
            "media": [checked(form["media_url"], MediaRef, "media_url")] if form.get("media_url") else [],
        },
        Submission,
    )


def _answered(form: Mapping[str, str], code: str, kind: Any, default: str) -> Any:
    return checked(form.get(f"attribute[{code}]") or default, kind, f"attribute[{code}]")


def _asked(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise RecordError("invalid_field", f"{name} is required", name)
    return value


def _within(form: Mapping[str, str], name: str, most: int) -> str:
    value = form.get(name, "")
    if len(value) > most:
        raise RecordError("invalid_field", f"longer than {most} characters", name)
    return value


def _location(form: Mapping[str, str]) -> Location | None:
    if not form.get("lat") and not form.get("long"):
        return None
    return Location(lat=_degrees(form, "lat", Latitude), long=_degrees(form, "long", Longitude))


def _degrees(form: Mapping[str, str], name: str, kind: Any) -> float:
    try:
        value = float(_asked(form, name))
    except ValueError as error:
        raise RecordError("invalid_field", "not a number", name) from error
    found: float = checked(value, kind, name)
    return found


def _grid_id(form: Mapping[str, str], location: Location | None, registry: Registry, ground: Ground) -> str:
    """Return the grid of the point, of the address id, or named in the address, in this order."""
    if location is not None:
        grid = ground.grid_at(location.long, location.lat)
        if grid is None:
            raise RecordError("outside_district", "no grid of the district holds this point", "lat")
        return grid.id
    if form.get("address_id"):
        return str(checked(form["address_id"], GridId, "address_id"))
    address = _asked(form, "address_string")
    named = [grid for grid in registry.grids.values() if grid.name in address]
    if not named:
        raise RecordError("unknown_address", "names no grid of the district; send lat and long", "address_string")
    return max(named, key=lambda grid: len(grid.name)).id


def _contact(form: Mapping[str, str]) -> Contact | None:
    name = _within(form, "last_name", 40) + _within(form, "first_name", 40)
    found = {"name": name, "phone": _within(form, "phone", 40), "email": _within(form, "email", 120)}
    given = {field: value for field, value in found.items() if value}
    return Contact(**given) if given else None


def reporters_request(form: UpdateForm, case: Case, fresh_id: str) -> ReporterRequest:
    """Return what an update asks of *case*: on a closed one OPEN reopens, FIXED and CLOSED say that it is well.

    All else, also a status that nobody knows, is a remark.

    Args:
        form: as it came; an `update_id` sent again by the same site makes the same request.
        case: that it is about.
        fresh_id: of an update without id.

    Raises:
        RecordError: there is no text, or too much.
    """
    if not (form.description or "").strip():
        raise RecordError("invalid_field", "description is required", "description")
    move = _UPDATES.get(form.status or "", ReportersMove.REMARK) if case.stage is Stage.ARCHIVED else None
    sent = sha256(f"{form.api_key}/{form.update_id}".encode()).hexdigest()[:32] if form.update_id else fresh_id
    return ReporterRequest(
        move=move or ReportersMove.REMARK,
        request_id=sent,
        note=checked(form.description or "", Text, "description"),
        satisfaction=Satisfaction.SATISFIED if move is ReportersMove.FEEDBACK else None,
    )


# -- queries -----------------------------------------------------------------------------------


def query(parameters: Mapping[str, str], now: datetime) -> Query:
    """Return which requests are asked for: at most 90 days and 1,000 rows.

    Raises:
        RecordError: a parameter is wrong; `field` says which.
    """
    until = _instant(parameters, "end_date") or now
    earliest = _earliest(until)
    since = _instant(parameters, "start_date") or earliest
    count = min(_positive(parameters, "page_size", MAX_ROWS), MAX_ROWS)
    statuses = frozenset(_listed(parameters, "status"))
    if not statuses <= {"open", "closed"}:
        raise RecordError("invalid_field", "open or closed", "status")
    return Query(
        ids=frozenset(_listed(parameters, "service_request_id")),
        codes=frozenset(_listed(parameters, "service_code")),
        statuses=statuses,
        since=max(since, earliest),
        until=until,
        first=(_positive(parameters, "page", 1) - 1) * count,
        count=count,
    )


def _earliest(until: datetime) -> datetime:
    try:
        return until - LONGEST
    except OverflowError as error:
        raise RecordError("invalid_field", "before anything was", "end_date") from error


def _listed(parameters: Mapping[str, str], name: str) -> Iterator[str]:
    return (part.strip() for part in parameters.get(name, "").split(",") if part.strip())


def _instant(parameters: Mapping[str, str], name: str) -> datetime | None:
    value = parameters.get(name)
    found: datetime | None = checked(value, Instant, name) if value else None
    return found


def _positive(parameters: Mapping[str, str], name: str, default: int) -> int:
    value = parameters.get(name) or str(default)
    if not re.fullmatch("0*[1-9][0-9]{0,8}", value):
        raise RecordError("invalid_field", "not a positive number", name)
    return int(value)


def select(cases: Iterable[Case], query: Query) -> list[Case]:
    """Return the cases that *query* asks for, newest first."""
    found = [case for case in cases if _is_asked(case, query)]
    found.sort(key=lambda case: case.opened_at, reverse=True)
    return found[query.first : query.first + query.count]


def _is_asked(case: Case, query: Query) -> bool:
    if query.ids:
        return case.case_id in query.ids
    return (
        case.visibility is Visibility.PUBLIC
        and query.since <= case.opened_at < query.until
        and (not query.codes or case.item_code in query.codes)
        and (not query.statuses or status(case) in query.statuses)
    )
