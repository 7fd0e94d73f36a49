"""The simulator's diary: one JSON line for each thing it did, so that others can be checked against it."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from schemas.fields import Instant


class Act(StrEnum):
    """What was done."""

    REPORT = "report"
    COMMAND = "command"
    VISIT = "visit"
    BAD_RECORD = "bad_record"
    BAD_BODY = "bad_body"
    CAMERA_FAULT = "camera_fault"


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `status` is the HTTP status, or null when no answer came: it may have happened."""

    act: Act
    at: Instant
    id: str
    status: int | None = None
    detail: str = ""


class Journal:
    """An append-only file of entries."""

    def __init__(self, path: Path) -> None:
        """Append to *path*."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, entry: Entry) -> None:
        """Append *entry* and hand it to the operating system: a killed simulator loses nothing it wrote."""
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read_journal(path: Path) -> Iterator[Entry]:
    """Yield the entries of a journal; none when there is no file. A torn last line is left out."""
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield msgspec.json.decode(line, type=Entry)
