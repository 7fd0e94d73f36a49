"""The only module that reads a clock. Everything else receives instants as arguments."""

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return this machine's wall clock as an aware UTC instant."""
    return datetime.now(UTC)  # noqa: TID251 - the one place


def monotonic_s() -> float:
    """Return seconds on a clock that never goes back; only differences mean anything."""
    return time.monotonic()


def boot_s() -> float:
    """Return seconds since boot, suspended time included: a frozen process sees how long it was away."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
