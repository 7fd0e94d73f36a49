"""The only module that reads a clock. Everything else receives instants as arguments."""

import time
from datetime import UTC, datetime, timedelta

# A record's append time is set a moment before the record can be read.
_MARGIN = timedelta(milliseconds=50)


def utc_now() -> datetime:
    """Return this machine's wall clock as an aware UTC instant."""
    return datetime.now(UTC)  # noqa: TID251 - the one place


def monotonic_s() -> float:
    """Return seconds on a clock that never goes back; only differences mean anything."""
    return time.monotonic()


def boot_s() -> float:
    """Return seconds since boot, suspended time included: a frozen process sees how long it was away."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class BrokerClock:
    """Estimates one partition leader's clock, never ahead of it: last append time plus what elapsed since."""

    def __init__(self) -> None:
        self._appended_at: datetime | None = None
        self._heard_s = 0.0
        self._latest: datetime | None = None

    def heard(self, appended_at: datetime, now_s: float) -> None:
        """Take the append time of an acknowledged record; *now_s* is monotonic."""
        self._appended_at, self._heard_s = appended_at, now_s

    def read(self, now_s: float) -> datetime | None:
        """Return broker time less the margin, never earlier than before; None before the first record."""
        if self._appended_at is None:
            return None
        estimate = self._appended_at + timedelta(seconds=now_s - self._heard_s) - _MARGIN
        self._latest = max(estimate, self._latest or estimate)
        return self._latest
