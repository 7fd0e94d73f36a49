"""A validator of Open311 answers, written from the field lists of GeoReport v2 and FixMyStreet's extension alone.

It shares nothing with the product: a field that the product forgets or misspells is found here.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

SERVICE = {"service_code", "service_name", "description", "metadata", "type", "keywords", "group"}
ATTRIBUTE = {"variable", "code", "datatype", "required", "datatype_description", "order", "description", "values"}
DATATYPES = {"string", "number", "datetime", "text", "singlevaluelist", "multivaluelist"}
REQUEST = {
    "service_request_id", "status", "status_notes", "service_name", "service_code", "description",
    "agency_responsible", "service_notice", "requested_datetime", "updated_datetime", "expected_datetime", "address",
    "address_id", "zipcode", "lat", "long", "media_url", "attributes", "extended_attributes", "notes",
}  # fmt: skip
RECEIPT = {"service_request_id", "token", "service_notice", "account_id"}
UPDATE = {
    "update_id", "service_request_id", "service_request_id_ext", "status", "description", "updated_datetime",
    "media_url", "external_status_code", "customer_reference",
}  # fmt: skip
UPDATE_STATUSES = {
    "OPEN", "INVESTIGATING", "IN_PROGRESS", "ACTION_SCHEDULED", "NOT_COUNCILS_RESPONSIBILITY", "INTERNAL_REFERRAL",
    "NO_FURTHER_ACTION", "DUPLICATE", "FIXED", "CLOSED",
}  # fmt: skip
_W3C = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

Row = dict[str, Any]


class NotOpen311Error(Exception):
    """An answer is not what the standard describes."""


def services(content: bytes, form: str) -> list[Row]:
    """Return the rows of a service list."""
    return [_service(row) for row in _rows(content, form, "services", "service")]


def definition(content: bytes, form: str) -> Row:
    """Return a service definition."""
    found = json.loads(content) if form == "json" else _definition_of(_parsed(content, "service_definition"))
    _need(isinstance(found, dict), "a definition is one object")
    _only(found, {"service_code", "attributes"}, {"service_code", "attributes"})
    _text(found, "service_code")
    for attribute in found["attributes"]:
        _attribute(attribute)
    orders = [int(attribute["order"]) for attribute in found["attributes"]]
    _need(len(orders) == len(set(orders)), "orders are unique")
    return dict(found)


def receipts(content: bytes, form: str) -> list[Row]:
    """Return the rows of the answer to a POST."""
    rows = _rows(content, form, "service_requests", "request")
    for row in rows:
        _only(row, {*()}, RECEIPT)
        _need(("token" in row) != ("service_request_id" in row), "either a token or an id, never both")
        _text(row, "token" if "token" in row else "service_request_id")
    return rows


def tokens(content: bytes, form: str) -> list[Row]:
    """Return the rows of the answer to a token: here both are there."""
    rows = _rows(content, form, "service_requests", "request")
    for row in rows:
        _only(row, {"token", "service_request_id"}, {"token", "service_request_id"})
        _text(row, "token", "service_request_id")
    return rows


def requests(content: bytes, form: str) -> list[Row]:
    """Return the rows of a list of requests."""
    return [_request(row) for row in _rows(content, form, "service_requests", "request")]


def updates(content: bytes, form: str) -> list[Row]:
    """Return the rows of a list of updates."""
    rows = _rows(content, form, "service_requests_updates", "request_update")
    for row in rows:
        _only(row, {"update_id", "service_request_id", "status", "description", "updated_datetime"}, UPDATE)
        _text(row, "update_id", "service_request_id", "description")
        _need(row["status"] in UPDATE_STATUSES, f"status {row['status']!r}")
        _instant(row, "updated_datetime")
    return rows


def update_receipts(content: bytes, form: str) -> list[Row]:
    """Return the rows of the answer to an update that was sent."""
    rows = _rows(content, form, "service_request_updates", "request_update")
    _need(len(rows) == 1, "one update, one id")
    for row in rows:
        _only(row, {"update_id"}, {"update_id"})
        _text(row, "update_id")
    return rows


def errors(content: bytes, form: str) -> list[Row]:
    """Return the rows of an error."""
    rows = _rows(content, form, "errors", "error")
    _need(bool(rows), "an error says something")
    for row in rows:
        _only(row, {"code", "description"}, {"code", "description"})
        _text(row, "code", "description")
    return rows


def _service(row: Row) -> Row:
    _only(row, SERVICE, SERVICE)
    _text(row, "service_code", "service_name", "description", "group")
    _need(row["metadata"] in (True, False, "true", "false"), "metadata is true or false")
    _need(row["type"] in {"realtime", "batch", "blackbox"}, f"type {row['type']!r}")
    return row


def _attribute(row: Row) -> None:
    _only(row, ATTRIBUTE - {"values"}, ATTRIBUTE)
    _text(row, "code", "description")
    _need(row["datatype"] in DATATYPES, f"datatype {row['datatype']!r}")
    for name in ("variable", "required"):
        _need(row[name] in (True, False, "true", "false"), f"{name} is true or false")
    _need(str(row["order"]).isdigit(), "order is a number")
    _need(("list" in row["datatype"]) == bool(row.get("values")), "lists, and lists alone, have values")
    for value in row.get("values", ()):
        _only(value, {"key", "name"}, {"key", "name"})
        _text(value, "key", "name")


def _request(row: Row) -> Row:
    needed = {"service_request_id", "status", "service_name", "service_code", "requested_datetime"}
    _only(row, needed, REQUEST)
    _text(row, "service_request_id", "service_name", "service_code")
    _need(row["status"] in {"open", "closed"}, f"status {row['status']!r}")
    for name in ("requested_datetime", "updated_datetime", "expected_datetime"):
        _instant(row, name)
    for name, most in (("lat", 90.0), ("long", 180.0)):
        _need(name not in row or abs(float(row[name])) <= most, f"{name} in degrees")
    _need(("lat" in row) == ("long" in row), "a point has two coordinates")
    _need(any(name in row for name in ("lat", "address", "address_id")), "a request is somewhere")
    return row


# -- shapes ------------------------------------------------------------------------------------


def _rows(content: bytes, form: str, root: str, row: str) -> list[Row]:
    if form == "json":
        found = json.loads(content)
        if isinstance(found, dict):  # FixMyStreet wraps, the standard does not
            _need(found.keys() == {root}, "a wrapped list stands alone")
            found = found[root]
        _need(isinstance(found, list) and all(isinstance(part, dict) for part in found), "a list of objects")
        return list(found)
    top = _parsed(content, root)
    _need(all(child.tag == row for child in top), f"only <{row}> in <{root}>")
    return [_fields(child) for child in top]


def _parsed(content: bytes, root: str) -> ET.Element:
    top = ET.fromstring(content)  # noqa: S314 - our own answers
    _need(top.tag == root, f"<{top.tag}> instead of <{root}>")
    return top


def _fields(element: ET.Element) -> Row:
    names = [child.tag for child in element]
    _need(len(names) == len(set(names)), "no field twice")
    return {child.tag: child.text or "" for child in element}


def _definition_of(top: ET.Element) -> Row:
    code, attributes = top.find("service_code"), top.find("attributes")
    _need(code is not None and attributes is not None and len(top) == 2, "a code and attributes")
    assert code is not None
    assert attributes is not None
    return {"service_code": code.text, "attributes": [_attribute_of(child) for child in attributes]}


def _attribute_of(element: ET.Element) -> Row:
    found = _fields(element)
    values = element.find("values")
    if values is not None:
        found["values"] = [_fields(value) for value in values]
    return found


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise NotOpen311Error(what)


def _only(row: Row, needed: set[str], allowed: set[str]) -> None:
    _need(needed <= row.keys(), f"lacks {sorted(needed - row.keys())}")
    _need(row.keys() <= allowed, f"has {sorted(row.keys() - allowed)}")


def _text(row: Row, *names: str) -> None:
    for name in names:
        _need(isinstance(row[name], str) and row[name] != "", f"{name} is text")


def _instant(row: Row, name: str) -> None:
    _need(name not in row or bool(_W3C.fullmatch(str(row[name]))), f"{name} has an offset")


def wrong_answers() -> Iterator[tuple[str, Callable[[bytes, str], Any], str, bytes]]:
    """Yield ten answers that only look right: what is wrong, who must refuse it, form, content."""
    service = {n: "x" for n in SERVICE} | {"metadata": True, "type": "realtime"}
    request = {
        "service_request_id": "1", "status": "open", "service_name": "n", "service_code": "001",
        "requested_datetime": "2026-03-09T09:00:00Z", "address": "村口",
    }  # fmt: skip
    update = {
        "update_id": "1", "service_request_id": "1", "status": "OPEN", "description": "d",
        "updated_datetime": "2026-03-09T09:00:00Z",
    }  # fmt: skip
    wrong = {"service_code": "1", "attributes": [{n: "x" for n in ATTRIBUTE}]}
    xml = b"<service_requests><request><service_request_id>1</service_request_id>%s</request></service_requests>"

    def as_json(*rows: Row) -> bytes:
        return json.dumps(rows).encode()

    yield "an integer for an id", services, "json", as_json(service | {"service_code": 1})
    yield "an unknown type of service", services, "json", as_json(service | {"type": "instant"})
    yield "an unknown datatype", definition, "json", json.dumps(wrong).encode()
    yield "token and id at once", receipts, "json", as_json({"token": "1", "service_request_id": "2"})
    yield "neither of them", receipts, "xml", b"<service_requests><request/></service_requests>"
    yield "our own word for a status", requests, "json", as_json(request | {"status": "handling"})
    yield (
        "an instant without offset",
        requests,
        "json",
        as_json(request | {"requested_datetime": "2026-03-09T09:00:00"}),
    )
    yield "a field nobody knows, and personal", requests, "json", as_json(request | {"phone": "13900001234"})
    yield "a request without a code", requests, "xml", xml % b"<status>open</status>"
    yield "an update in small letters", updates, "json", as_json(update | {"status": "open"})
