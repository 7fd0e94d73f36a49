"""Open311 GeoReport v2, what goes out: our catalogue and cases in its words. Pure; `open311_in` is the other way.

Names are the standard's (wiki.open311.org/GeoReport_v2) and, of updates, FixMyStreet's extension. The
standard's own JSON example has numbers for ids; here ids are strings, as its schemas ask.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
from msgspec import Struct

from schemas.cases import REPORTER, Case, LedgerEvent, LedgerKind, Stage
from schemas.policy import Item, Policy
from schemas.registry import Registry
from schemas.reports import Location, Urgency, Visibility

URGENCY, OCCURRED, VISIBILITY = "URGENCY", "OCCURRED", "VISIBILITY"  # codes of the questions
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ITEM_OF = {"attributes": "attribute", "values": "value"}
_UPDATE_STATUS = {
    LedgerKind.OPENED: "OPEN",
    LedgerKind.DISPATCHED: "INVESTIGATING",
    LedgerKind.ACKNOWLEDGED: "IN_PROGRESS",
    LedgerKind.HANDLED: "ACTION_SCHEDULED",
    LedgerKind.REWORKED: "IN_PROGRESS",
    LedgerKind.ARCHIVED: "FIXED",
    LedgerKind.REOPENED: "OPEN",
}
# Of what a reporter says, which changes no status.
_REPORTED_AT = {
    Stage.REPORTED: "OPEN",
    Stage.DISPATCHED: "INVESTIGATING",
    Stage.HANDLING: "IN_PROGRESS",
    Stage.VERIFYING: "ACTION_SCHEDULED",
    Stage.ARCHIVED: "CLOSED",
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


class UpdateReceipt(Struct, frozen=True, kw_only=True):
    """Answer to an update that was sent."""

    update_id: str


class Fault(Struct, frozen=True):
    """One row of an error answer."""

    code: str
    description: str


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
    """Return what every service asks: how urgent, when it happened, and who may read it."""
    urgency = [Value(Urgency.NORMAL, "一般"), Value(Urgency.URGENT, "紧急")]
    visibility = [Value(Visibility.PUBLIC, "公开"), Value(Visibility.PRIVATE, "不公开")]
    return Definition(
        service_code=service_code,
        attributes=[
            _attribute(URGENCY, "singlevaluelist", 1, "紧急程度 How urgent is it?", values=urgency),
            _attribute(OCCURRED, "datetime", 2, "发生时间 When did it happen? (RFC 3339 with zone; now, if left out)"),
            _attribute(VISIBILITY, "singlevaluelist", 3, "是否公开 May others read it?", values=visibility),
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
    item, grid = policy.items.get(case.item_code), registry.grids[case.grid_id]
    return ServiceRequest(
        service_request_id=case.case_id,
        status=status(case),
        status_notes=case.stage,
        service_name=item_name(policy, case),
        service_code=case.item_code,
        description=case.summary,
        agency_responsible="" if item is None else item.department,
        requested_datetime=case.opened_at,
        updated_datetime=case.updated_at,
        expected_datetime=None if case.timer is None else case.timer.due_at,
        address=grid.name,
        address_id=case.grid_id,
        lat=None if location is None else location.lat,
        long=None if location is None else location.long,
        media_url=media_url,
    )


def item_name(policy: Policy, case: Case) -> str:
    """Return what *case* is about; of an item that is in the catalogue no more, the code."""
    item = policy.items.get(case.item_code)
    return case.item_code if item is None else item.name


def status(case: Case) -> str:
    """Return the standard's status: `open` until the case is on the ledger for good."""
    return "closed" if case.stage is Stage.ARCHIVED else "open"


def update(event: LedgerEvent) -> Update | None:
    """Return a ledger line as an update, or None for one that is no news to the public."""
    found = _UPDATE_STATUS.get(event.kind) or (event.by == REPORTER and _REPORTED_AT[event.stage])
    if not found:
        return None
    is_reporters = event.by == REPORTER
    return Update(
        # Whoever sent an update knows it by the id that the answer said.
        update_id=event.event_id.partition("/")[0] if is_reporters else event.event_id,
        service_request_id=event.case_id,
        status=found,
        description=event.note or event.kind if is_reporters else event.kind,
        updated_datetime=event.at,
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
