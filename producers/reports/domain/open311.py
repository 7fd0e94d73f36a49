"""Open311 GeoReport v2 at the edge: our catalogue and cases in its words, its forms as our submissions. Pure.

Names are the standard's (wiki.open311.org/GeoReport_v2) and, of updates, FixMyStreet's extension. The
standard's own JSON example has numbers for ids; here ids are strings, as its schemas ask.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec
from msgspec import Struct

from producers.reports.domain.submission import Contact, Source, Submission
from producers.reports.domain.wire import checked
from schemas.cases import Case, LedgerEvent, LedgerKind, Stage
from schemas.errors import RecordError
from schemas.fields import Instant, ItemCode, Latitude, Longitude, MediaRef
from schemas.grid import Registry
from schemas.ground import Ground
from schemas.policy import Item, Policy
from schemas.reports import Location, Urgency, Visibility

MAX_ROWS: Final = 1000
LONGEST: Final = timedelta(days=90)
_URGENCY, _OCCURRED = "URGENCY", "OCCURRED"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ITEM_OF = {"attributes": "attribute", "values": "value"}
_UPDATE_STATUS = {
    LedgerKind.OPENED: "OPEN",
    LedgerKind.DISPATCHED: "INVESTIGATING",
    LedgerKind.ACKNOWLEDGED: "IN_PROGRESS",
    LedgerKind.HANDLED: "ACTION_SCHEDULED",
    LedgerKind.REWORKED: "IN_PROGRESS",
    LedgerKind.ARCHIVED: "FIXED",
}


class Service(Struct, frozen=True, kw_only=True):
    """One row of the service list."""

    service_code: str
    service_name: str
    description: str
    metadata: bool
    type: str
    keywords: str
    group: str


class Value(Struct, frozen=True):
    """One choice of an attribute."""

    key: str
    name: str


class Attribute(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question of a service definition."""

    variable: bool
    code: str
    datatype: str
    required: bool
    datatype_description: str
    order: int
    description: str
    values: list[Value] = []


class Definition(Struct, frozen=True, kw_only=True):
    """What a service asks beyond the standard's fields."""

    service_code: str
    attributes: list[Attribute]


class Form(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `POST requests` takes; clients send more, which is left alone."""

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
    urgency: str | None = msgspec.field(default=None, name=f"attribute[{_URGENCY}]")
    occurred: str | None = msgspec.field(default=None, name=f"attribute[{_OCCURRED}]")


class Receipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to a POST (with a token, until the case is known) and to a token."""

    token: str | None = None
    service_request_id: str | None = None
    service_notice: str | None = None


class ServiceRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One case as the public sees it."""

    service_request_id: str
    status: str
    status_notes: str
    service_name: str
    service_code: str
    description: str
    agency_responsible: str
    requested_datetime: datetime
    updated_datetime: datetime
    address: str
    address_id: str
    expected_datetime: datetime | None = None
    lat: float | None = None
    long: float | None = None
    media_url: str | None = None


class Update(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to a case, in FixMyStreet's words."""

    update_id: str
    service_request_id: str
    status: str
    description: str
    updated_datetime: datetime


class Fault(Struct, frozen=True):
    """One row of an error answer."""

    code: str
    description: str


class Query(Struct, frozen=True, kw_only=True):
    """Which requests are asked for; bounds are half-open."""

    ids: frozenset[str]
    codes: frozenset[str]
    statuses: frozenset[str]
    since: datetime
    until: datetime
    first: int
    count: int


# -- out ---------------------------------------------------------------------------------------


def services(policy: Policy) -> list[Service]:
    """Return the catalogue as services, each in its group."""
    return [_service(item, policy) for item in policy.items.values()]


def _service(item: Item, policy: Policy) -> Service:
    return Service(
        service_code=item.code,
        service_name=item.name,
        description=item.name_en,
        metadata=True,
        type="realtime",
        keywords=f"{item.severity},{item.department}",
        group=policy.groups[item.code[:2]].name,
    )


def definition(service_code: str) -> Definition:
    """Return what every service asks: how urgent, and when it happened."""
    urgency = [Value(Urgency.NORMAL, "一般"), Value(Urgency.URGENT, "紧急")]
    return Definition(
        service_code=service_code,
        attributes=[
            _attribute(_URGENCY, "singlevaluelist", 1, "紧急程度 How urgent is it?", values=urgency),
            _attribute(_OCCURRED, "datetime", 2, "发生时间 When did it happen? (RFC 3339 with zone; now, if left out)"),
        ],
    )


def _attribute(code: str, datatype: str, order: int, description: str, **more: Any) -> Attribute:
    return Attribute(
        variable=True,
        code=code,
        datatype=datatype,
        required=False,
        datatype_description=description,
        order=order,
        description=description,
        **more,
    )


def service_request(
    case: Case, policy: Policy, registry: Registry, location: Location | None, media_url: str | None
) -> ServiceRequest:
    """Return *case* as the public sees it: nothing about who reported or who handles it."""
    item, grid = policy.items[case.item_code], registry.grids[case.grid_id]
    return ServiceRequest(
        service_request_id=case.case_id,
        status=status(case),
        status_notes=case.stage,
        service_name=item.name,
        service_code=case.item_code,
        description=case.summary,
        agency_responsible=item.department,
        requested_datetime=case.opened_at,
        updated_datetime=case.updated_at,
        expected_datetime=None if case.timer is None else case.timer.due_at,
        address=grid.name,
        address_id=case.grid_id,
        lat=None if location is None else location.lat,
        long=None if location is None else location.long,
        media_url=media_url,
    )


def status(case: Case) -> str:
    """Return the standard's status: `open` until the case is on the ledger for good."""
    return "closed" if case.stage is Stage.ARCHIVED else "open"


def update(event: LedgerEvent) -> Update | None:
    """Return a ledger line as an update, or None for one that is no news to the public."""
    found = _UPDATE_STATUS.get(event.kind)
    if found is None:
        return None
    return Update(
        update_id=event.event_id,
        service_request_id=event.case_id,
        status=found,
        description=event.kind,
        updated_datetime=event.at,
    )


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


# -- XML ---------------------------------------------------------------------------------------


def xml(root: str, row: str, rows: Sequence[Struct]) -> bytes:
    """Return *rows* as the standard's XML: `<root><row>…</row>…</root>`."""
    top = ET.Element(root)
    for found in rows:
        _fill(ET.SubElement(top, row), msgspec.to_builtins(found))
    return _text(top)


def definition_xml(found: Definition) -> bytes:
    """Return a definition as the standard's XML, which is no list."""
    top = ET.Element("service_definition")
    _fill(top, msgspec.to_builtins(found))
    return _text(top)


def _fill(element: ET.Element, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        child = ET.SubElement(element, name)
        if isinstance(value, list):
            for part in value:
                _fill(ET.SubElement(child, _ITEM_OF[name]), part)
        else:
            child.text = str(value).lower() if isinstance(value, bool) else _NOT_XML.sub("\ufffd", str(value))


def _text(top: ET.Element) -> bytes:
    written: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return written


# -- in ----------------------------------------------------------------------------------------


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
            "occurred_at": form.get(f"attribute[{_OCCURRED}]") or now.isoformat(),
            "description": _within(form, "description", 4000),
            "urgency": checked(form.get(f"attribute[{_URGENCY}]") or Urgency.NORMAL, Urgency, f"attribute[{_URGENCY}]"),
            "location": location,
            "reporter": _contact(form),
            "media": [checked(form["media_url"], MediaRef, "media_url")] if form.get("media_url") else [],
        },
        Submission,
    )


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
        return form["address_id"]
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


def query(parameters: Mapping[str, str], now: datetime) -> Query:
    """Return which requests are asked for: at most 90 days and 1,000 rows.

    Raises:
        RecordError: a parameter is wrong; `field` says which.
    """
    until = _instant(parameters, "end_date") or now
    since = _instant(parameters, "start_date") or until - LONGEST
    count = min(_positive(parameters, "page_size", MAX_ROWS), MAX_ROWS)
    statuses = frozenset(_listed(parameters, "status"))
    if not statuses <= {"open", "closed"}:
        raise RecordError("invalid_field", "open or closed", "status")
    return Query(
        ids=frozenset(_listed(parameters, "service_request_id")),
        codes=frozenset(_listed(parameters, "service_code")),
        statuses=statuses,
        since=max(since, until - LONGEST),
        until=until,
        first=(_positive(parameters, "page", 1) - 1) * count,
        count=count,
    )


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
