"""Reports in the shapes of other systems: WeCom's patrol orders, the district grid event, tables. Pure.

Every source says in which frame its coordinates are; what leaves is WGS-84. A source's own id makes
the report's, so that sending again changes nothing.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from producers.reports.domain.coordinates import Frame, to_wgs84
from producers.reports.domain.submission import Contact, Source, Submission
from schemas.errors import RecordError
from schemas.fields import GridId, ItemCode, Latitude, Longitude
from schemas.ground import Ground
from schemas.policy import Policy
from schemas.registry import Registry
from schemas.reports import Location, Urgency

MAX_ROWS = 5_000
_MEDIA = 10
_SHANGHAI = timezone(timedelta(hours=8))  # a time without zone in these systems; no summer time since 1991
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,70}")
_ENCODINGS = ("utf-8-sig", "gb18030")  # what spreadsheets of offices save


class WecomLocation(Struct, frozen=True, kw_only=True):
    """Where an order is; WeCom's map is GCJ-02."""

    latitude: Latitude
    longitude: Longitude
    name: str = ""
    address: str = ""


class WecomOrder(Struct, frozen=True, kw_only=True):
    """An order as WeCom's 巡查上报 `get_order_info` returns it; what is not used here may be there.

    WeCom publishes no meaning of the numbers in `urge_type`.
    """

    order_id: Annotated[str, Meta(min_length=1, max_length=200)]
    desc: str
    case_name: Annotated[str, Meta(description="name of an item of the catalogue")]
    create_time: Annotated[int, Meta(ge=0, le=4_000_000_000, description="UNIX seconds")]
    urge_type: int = 0
    grid_id: str = ""
    grid_name: str = ""
    reporter_name: str = ""
    reporter_mobile: str = ""
    image_urls: list[str] = []
    location: WecomLocation | None = None


class GridEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """A district platform's event; its four codes are prefixes of one another."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    event_name: str
    happen_time: Annotated[str, Meta(max_length=40, description="without zone it is Asia/Shanghai")]
    event_first_type: Annotated[str, Meta(pattern="^[0-9]{2}$")]
    event_second_type: ItemCode
    city_code: Annotated[str, Meta(pattern="^[0-9]{6}$")]
    street_code: Annotated[str, Meta(pattern="^[0-9]{9}$")]
    community_code: Annotated[str, Meta(pattern="^[0-9]{12}$")]
    grid_code: GridId
    event_place: str = ""
    event_content: str = ""
    event_long: Longitude | None = None
    event_lat: Latitude | None = None


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a report is held against."""

    registry: Registry
    ground: Ground
    policy: Policy
    frame: Frame


class Row(Struct, frozen=True, kw_only=True):
    """One line of a table: a report, or why it is none."""

    line: int
    submission: Submission | None = None
    error: RecordError | None = None


def from_wecom(order: WecomOrder, around: Surroundings, urgent: frozenset[int]) -> Submission:
    """Return what an order reports.

    Args:
        order: as it came.
        around: the district, and the frame of the order's map.
        urgent: numbers of `urge_type` that this office uses for urgent orders.

    Raises:
        RecordError: no item has its name, or no grid is where it says.
    """
    at = order.location
    location = None if at is None else _location(at.longitude, at.latitude, around.frame)
    contact = {"name": order.reporter_name, "phone": order.reporter_mobile}
    return _submission(
        {
            "report_id": _report_id("wecom", order.order_id),
            "grid_id": _grid_id(location, order.grid_id, order.grid_name, around),
            "item_code": _item_named(order.case_name, around.policy),
            "channel": Source.RESIDENT,
            "occurred_at": datetime.fromtimestamp(order.create_time, UTC).isoformat(),
            "description": order.desc,
            "urgency": Urgency.URGENT if order.urge_type in urgent else Urgency.NORMAL,
            "location": location,
            "reporter": Contact(**contact) if any(contact.values()) else None,
            "media": [url for url in order.image_urls if url.startswith("http")][:_MEDIA],
        }
    )


def from_grid_event(event: GridEvent, around: Surroundings) -> Submission:
    """Return what a district platform's event reports.

    Raises:
        RecordError: its codes are not prefixes of one another, or its time is none.
    """
    codes = (event.city_code, event.street_code, event.community_code, event.grid_code)
    if not all(longer.startswith(shorter) for shorter, longer in pairwise(codes)):
        raise RecordError("codes_disagree", "city, street, community and grid code are no prefixes", "gridCode")
    if not event.event_second_type.startswith(event.event_first_type):
        raise RecordError("codes_disagree", "the second type is not of the first", "eventSecondType")
    if (event.event_long is None) != (event.event_lat is None):
        raise RecordError("invalid_field", "a point has two coordinates", "eventLat")
    has_point = event.event_long is not None and event.event_lat is not None
    parts = (event.event_name, event.event_content, event.event_place)
    return _submission(
        {
            "report_id": _report_id("grid-event", event.id),
            "grid_id": event.grid_code,
            "item_code": event.event_second_type,
            "channel": Source.RESIDENT,
            "occurred_at": _zoned(event.happen_time, "happenTime"),
            "description": "\n".join(part for part in parts if part),
            "location": _location(event.event_long, event.event_lat, around.frame) if has_point else None,
        }
    )


def from_table(content: bytes, around: Surroundings) -> Iterator[Row]:
    """Yield each line of a CSV in UTF-8 or GB18030, its header naming fields of a submission, `lat` and `long`.

    Without `report_id` a line is known by the file's content and its number: the same file again changes nothing.

    Raises:
        RecordError: it is no table, or longer than 5,000 lines.
    """
    file = sha256(content).hexdigest()[:16]
    try:
        lines = list(csv.DictReader(io.StringIO(_decoded(content), newline="")))
    except csv.Error as error:
        raise RecordError("not_csv", str(error)) from error
    if len(lines) > MAX_ROWS:
        raise RecordError("too_many_rows", f"more than {MAX_ROWS} lines", None)
    for number, fields in enumerate(lines, 2):
        try:
            yield Row(line=number, submission=_from_line(fields, f"csv:{file}:{number}", around))
        except RecordError as error:
            yield Row(line=number, error=error)


def _decoded(content: bytes) -> str:
    for encoding in _ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise RecordError("not_csv", "neither UTF-8 nor GB18030")


def _from_line(fields: Mapping[str | None, Any], report_id: str, around: Surroundings) -> Submission:
    if None in fields:
        raise RecordError("invalid_field", "more cells than the header names")
    given = {str(name).strip(): value.strip() for name, value in fields.items() if value and value.strip()}
    longitude, latitude, grid_name = given.pop("long", None), given.pop("lat", None), given.pop("grid_name", "")
    location = None
    if longitude is not None or latitude is not None:
        location = _location(_degrees(longitude, "long"), _degrees(latitude, "lat"), around.frame)
    contact = {name: given.pop(name) for name in ("name", "phone", "email") if name in given}
    defaults = {"report_id": report_id, "channel": Source.WORKER if "reported_by" in given else Source.RESIDENT}
    return _submission(
        defaults
        | given
        | {
            "grid_id": _grid_id(location, given.get("grid_id", ""), grid_name, around),
            "occurred_at": _zoned(given.get("occurred_at", ""), "occurred_at"),
            "location": location,
            "reporter": Contact(**contact) if contact else None,
        }
    )


def _submission(fields: dict[str, Any]) -> Submission:
    try:
        return msgspec.convert(msgspec.to_builtins(fields), Submission)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise RecordError("invalid_field", text, path.rstrip("`") or None) from error


def _report_id(source: str, ident: str) -> str:
    """Return the report's id of a source's own; one with other signs than ours is hashed."""
    return f"{source}:{ident if _PLAIN.fullmatch(ident) else sha256(ident.encode()).hexdigest()[:32]}"


def _degrees(text: str | None, field: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise RecordError("invalid_field", "not a number", field) from error


def _location(longitude: float | None, latitude: float | None, frame: Frame) -> Location:
    try:
        there = to_wgs84((longitude or 0.0, latitude or 0.0), frame)
        return msgspec.convert({"lat": there[1], "long": there[0]}, Location)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise RecordError("invalid_field", "not a place on earth", "location") from error


def _grid_id(location: Location | None, ident: str, name: str, around: Surroundings) -> str:
    """Return the grid that the source names by its code; else the one of the point, else the one of that name."""
    if ident in around.registry.grids:
        return ident
    if location is not None:
        grid = around.ground.grid_at(location.long, location.lat)
        if grid is not None:
            return grid.id
    for grid in around.registry.grids.values():
        if grid.name == name:
            return grid.id
    raise RecordError("unknown_grid", "neither code, point nor name is a grid's", "grid_id")


def _item_named(name: str, policy: Policy) -> str:
    for item in policy.items.values():
        if name in (item.name, item.code):
            return item.code
    raise RecordError("unknown_item", "no item of this name in the catalogue", "case_name")


def _zoned(text: str, field: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RecordError("invalid_field", "not an instant", field) from error
    return (found if found.tzinfo else found.replace(tzinfo=_SHANGHAI)).isoformat()
