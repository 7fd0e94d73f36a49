"""Dead letters: the record's bytes unchanged on one restricted topic, origin and reason in headers."""

import traceback
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict

from infra.logs import logger
from schemas import codec
from schemas.errors import RecordError
from schemas.topics import DEAD_LETTERS

Headers = list[tuple[str, bytes]]
INTERNAL: Final = "internal_error"
WINDOW: Final = 1000
MOST: Final = 50
_MAX_HEADER: Final = 2000
_MAX_VALUE = 8 << 20  # compression lets records into topics that are many times what a batch may hold


log = logger()


class Origin(Struct, frozen=True, kw_only=True, order=True):
    """Where a record that could not be processed came from."""

    topic: str
    partition: int
    offset: int

    @property
    def place(self) -> str:
        """Return the origin as one word; it is also the id of a record that was given none."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Letter(Struct, frozen=True, kw_only=True):
    """What a dead letter says: which record could not be processed, by whom and why; never what it holds."""

    appended_at: datetime
    process: str
    reason: str
    field: str | None
    origin: Origin
    size_bytes: int
    sha256: str


def dead_letter_headers(origin: Origin, error: RecordError, *, process: str, value: bytes | None) -> Headers:
    """Return the headers of a dead letter; its key and value are those of the original.

    The id is derived from the origin, so a repeat after a crash, or by another process, is the same letter.
    """
    cause = error.__cause__
    trace = "".join(traceback.format_exception(cause)) if error.reason == INTERNAL and cause else ""
    fields = {
        "ce_id": f"dead/{origin.place}",
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


def dead_letter(origin: Origin, error: Exception, *, process: str, value: bytes | None) -> tuple[bytes | None, Headers]:
    """Return a dead letter's value, the original's unless no topic can hold it, and its headers.

    An error that the rules did not foresee is ours, and is logged too.
    """
    if not isinstance(error, RecordError):
        log.error("record_failed", **asdict(origin), exc_info=error)
    kept = value if value is None or len(value) <= _MAX_VALUE else None
    return kept, dead_letter_headers(origin, _as_record_error(error), process=process, value=value)


def read_letter(headers: Iterable[tuple[str, bytes | None]], appended_at: datetime) -> Letter | None:
    """Return what the headers of a dead letter say, or None when they name no record."""
    found = {name: codec.header([(name, value)], name) or "" for name, value in headers}
    topic, *numbers = (found.get(f"origin_{part}", "") for part in ("topic", "partition", "offset"))
    if not topic or not all(number.isascii() and number.isdigit() for number in numbers):
        return None
    size = found.get("size_bytes", "")
    return Letter(
        appended_at=appended_at,
        process=found.get("ce_source", "").rpartition("/")[2],
        reason=found.get("reason", "unknown"),
        field=found.get("field"),
        origin=Origin(topic=topic, partition=int(numbers[0]), offset=int(numbers[1])),
        size_bytes=int(size) if size.isascii() and size.isdigit() else 0,
        sha256=found.get("sha256", ""),
    )


def _as_record_error(error: Exception) -> RecordError:
    """Return the reason in a dead letter's words; an error that the rules did not foresee is ours."""
    if isinstance(error, RecordError):
        return error
    internal = RecordError(INTERNAL, f"{type(error).__name__}: {error}")
    internal.__cause__ = error
    return internal


class DeadLetterLimit:
    """Counts the records of one input partition that could not be applied."""

    def __init__(self) -> None:
        self._bad: deque[int] = deque()

    def is_exceeded_by(self, offset: int) -> bool:
        """Take one more bad record, at *offset*; tell whether the input must be stopped.

        That is when more than 50 of the last 1,000 records were bad, 5 %: one bad producer
        among many is borne, a worker that understands nothing is not.
        """
        self._bad.append(offset)
        while self._bad[0] <= offset - WINDOW:
            self._bad.popleft()
        return len(self._bad) > MOST
