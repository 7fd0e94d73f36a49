"""Derived ids. Nothing here is random: a replay makes the same ids from the same records."""

from hashlib import sha256
from itertools import product

from schemas.cases import REPORTER, Case, Timer

_CASE_DIGITS = 10  # 50 bits: a grid would need millions of cases before two collide
# Two base-32 digits at a time (RFC 4648, lower case): the standard library's encoder took a quarter of opening a case.
_PAIRS = ["".join(pair) for pair in product("abcdefghijklmnopqrstuvwxyz234567", repeat=2)]


def case_id(grid_id: str, origin_id: str) -> str:
    """Return the id of the case that the record *origin_id* opens; the intake can say it at once."""
    bits = int.from_bytes(sha256(origin_id.encode()).digest()[:7]) >> 6
    return f"{grid_id}-{''.join([_PAIRS[bits >> shift & 1023] for shift in (40, 30, 20, 10, 0)])}"


def reporters_command_id(case: str, request_id: str) -> str:
    """Return the id of what a reporter asks of a case; all of one case begin alike, and none is a report's."""
    return f"{REPORTER}:{case[-_CASE_DIGITS:]}:{request_id}"


def ledger_id(cause_id: str, case: str, number: int) -> str:
    """Return the id of ledger event *number* of a case, which the record *cause_id* caused."""
    return f"{cause_id}/{case[-_CASE_DIGITS:]}/{number}"


def clock_key(case: str, timer: Timer) -> str:
    """Return what all alerts of one run of one clock share."""
    return f"{case}:{timer.clock}:{timer.armed}"


def supervision_key(case: Case) -> str:
    """Return what all supervision notices of one round share."""
    return f"{case.case_id}:supervision:{case.round}"


def step_id(case: str, timer: Timer, what: str, level: str, repeat: int) -> str:
    """Return the id of one escalation: case, clock, arming event, level, threshold, repeat."""
    return f"{clock_key(case, timer)}:{level}:{what}:{repeat}"
