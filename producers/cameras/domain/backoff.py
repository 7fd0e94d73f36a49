"""How long to wait before a camera is tried again. Pure; the jitter is drawn by the caller."""

from msgspec import Struct


class Backoff(Struct, frozen=True, kw_only=True):
    """Doubling waits between a first and a longest one, in seconds."""

    first_s: float = 1.0
    longest_s: float = 60.0

    def delay_s(self, failures: int, unit: float) -> float:
        """Return the wait after *failures* in a row; *unit* in [0, 1) spreads it between half and the whole."""
        whole = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 16))
        return float(whole * (0.5 + 0.5 * unit))
