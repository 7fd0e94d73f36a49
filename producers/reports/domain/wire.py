"""What the HTTP framework leaves open about values from outside. Pure.

It reads bodies leniently (an integer would pass for an instant) and lets headers and
paths through whatever their pattern says, so these are held to the contract here.
"""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from schemas.errors import RecordError

Moment = Annotated[
    str, Meta(max_length=40, description="RFC 3339 with zone", extra_json_schema={"format": "date-time"})
]

_NAMED = re.compile(r"(?:field `|parameter ')([^`']+)")


def checked(value: str | float, kind: Any, field: str) -> Any:
    """Return *value* as *kind*.

    Raises:
        RecordError: `invalid_field`, with *field*.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RecordError("invalid_field", str(error), field) from error


def at_fault(message: str, key: str | None) -> str | None:
    """Return the path of the field that a validation error is about, or None when it is the whole body.

    Args:
        message: of the validator; a missing or unknown field is named in it alone.
        key: path of the object or field, `data` for the body.
    """
    named = _NAMED.search(message)
    path = [part for part in (None if key == "data" else key, named and named.group(1)) if part]
    return ".".join(path) or None


def time_ordered_id(at: datetime, random: bytes) -> str:
    """Return a UUID of version 7: the millisecond of *at*, then 74 of the 80 bits of *random*."""
    bits = int(at.timestamp() * 1000) << 80 | int.from_bytes(random)
    version, variant = 0xF << 76, 0x3 << 62
    return str(UUID(int=bits & ~version & ~variant | 0x7 << 76 | 0x2 << 62))
