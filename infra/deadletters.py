"""Dead letters: the record's bytes unchanged on one restricted topic, origin and reason in headers."""

import traceback
from hashlib import sha256

from msgspec import Struct

from schemas.errors import RecordError
from schemas.topics import DEAD_LETTERS

Headers = list[tuple[str, bytes]]
_MAX_HEADER = 2000


class Origin(Struct, frozen=True, kw_only=True):
    """Where a record that could not be processed came from."""

    topic: str
    partition: int
    offset: int


def dead_letter_headers(origin: Origin, error: RecordError, *, process: str, value: bytes | None) -> Headers:
    """Return the headers of a dead letter; its key and value are those of the original.

    The id is derived from the origin, so a repeat after a crash, or by another process, is the same letter.
    """
    cause = error.__cause__
    trace = "".join(traceback.format_exception(cause)) if error.reason == "internal_error" and cause else ""
    fields = {
        "ce_id": f"dead/{origin.topic}/{origin.partition}/{origin.offset}",
        "ce_type": DEAD_LETTERS.ce_type,
        "ce_source": f"/gridwatch/{process}",
        "ce_specversion": "1.0",
        "reason": error.reason,
        "field": error.field or "",
        "detail": error.detail[:_MAX_HEADER],
        "traceback": trace[-_MAX_HEADER:],
        "origin_topic": origin.topic,
        "origin_partition": str(origin.partition),
        "origin_offset": str(origin.offset),
        "size_bytes": str(len(value or b"")),
        "sha256": sha256(value or b"").hexdigest(),
    }
    return [(name, text.encode()) for name, text in fields.items() if text]
