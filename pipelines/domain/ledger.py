"""The ledger (台账) as a book: every case's lines in order, each sealing those before it. Pure.

Line *n* of a case carries a seal: SHA-256 over the seal of line *n* - 1 and its own canonical JSON.
Whoever kept the last seal of an earlier export can tell that nothing up to it was changed, left out
or put in since: a later export has the same seal there.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

import msgspec
from msgspec import Struct

from schemas.cases import LedgerEvent


class Breach(StrEnum):
    """What no append-only ledger can show."""

    MISSING = "missing"  # no line has this number, and a later one is there
    CHANGED = "changed"  # two lines have this number, and do not say the same


class Finding(Struct, frozen=True, kw_only=True):
    """One place where a case's lines are no unbroken sequence."""

    case_id: str
    number: int
    breach: Breach


class Entry(Struct, frozen=True, kw_only=True):
    """A line and its seal, 64 hex digits."""

    line: LedgerEvent
    seal: str


class Book(Struct, frozen=True, kw_only=True):
    """Entries by case and number, and where they are broken."""

    entries: list[Entry]
    findings: list[Finding]


def bind(lines: Iterable[LedgerEvent]) -> Book:
    """Return the book of *lines*, which may come in any order; what a kill repeated, byte for byte, counts once."""
    cases: dict[str, dict[int, dict[bytes, LedgerEvent]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        cases[line.case_id][line.number][msgspec.json.encode(line, order="sorted")] = line
    book = Book(entries=[], findings=[])
    for case_id, numbered in sorted(cases.items()):
        seal = ""
        for number in range(1, max(numbered) + 1):
            versions = numbered.get(number, {})
            if len(versions) != 1:
                breach = Breach.CHANGED if versions else Breach.MISSING
                book.findings.append(Finding(case_id=case_id, number=number, breach=breach))
            for content, line in sorted(versions.items()):
                seal = sha256(seal.encode() + content).hexdigest()
                book.entries.append(Entry(line=line, seal=seal))
    return book
