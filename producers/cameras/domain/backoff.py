"""When a camera is tried again. Pure; the jitter is drawn by the caller.

Failures wait longer and longer; a session that was steady starts the count again. A log-in
that was refused three times is left alone for a quarter of an hour: cameras lock out who
insists. Only a session that plays shows that the log-in is right.
"""

from msgspec import Struct
from msgspec.structs import replace

REFUSALS = 3  # log-ins refused before a camera is left alone
LEFT_ALONE_S = 15 * 60.0
STEADY_S = 10.0  # a session that played this long; one that ends sooner counts as one more failure


class Tries(Struct, frozen=True, kw_only=True):
    """How the last sessions with a camera went."""

    failures: int = 0
    refusals: int = 0
    was_refused: bool = False  # the last one

    @property
    def is_refused(self) -> bool:
        """Tell whether the camera is left alone."""
        return self.was_refused and self.refusals >= REFUSALS

    def fail(self, played_s: float) -> "Tries":
        """Return what is known after a session that ended after *played_s* seconds of play."""
        failures = 1 if played_s >= STEADY_S else self.failures + 1
        return Tries(failures=failures, refusals=0 if played_s > 0 else self.refusals)

    def refuse(self) -> "Tries":
        """Return what is known after a log-in was refused."""
        return replace(self, failures=self.failures + 1, refusals=self.refusals + 1, was_refused=True)


class Backoff(Struct, frozen=True, kw_only=True):
    """Doubling waits between a first and a longest one, in seconds."""

    first_s: float = 1.0
    longest_s: float = 60.0

    def delay_s(self, failures: int, unit: float) -> float:
        """Return the wait after *failures* in a row; *unit* in [0, 1) spreads it between half and the whole."""
        whole = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 16))
        return float(whole * (0.5 + 0.5 * unit))

    def wait_s(self, tries: Tries, unit: float) -> float:
        """Return how long to wait before the next session; *unit* as in `delay_s`."""
        return LEFT_ALONE_S if tries.is_refused else self.delay_s(tries.failures, unit)
