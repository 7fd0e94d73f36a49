"""How many requests a client may send, by the generic cell rate algorithm (ITU-T I.371). Pure."""

from collections import OrderedDict

_CLIENTS = 10_000  # remembered; one that was forgotten starts anew


class Rate:
    """So many requests a minute for each client, and as many at once after a quiet minute."""

    def __init__(self, per_min: int) -> None:
        self._interval_s = 60.0 / per_min
        self._burst_s = 60.0 - self._interval_s
        self._free_at_s: OrderedDict[str, float] = OrderedDict()  # when the client's allowance is whole again

    def wait_s(self, client: str, now_s: float) -> float:
        """Count a request of *client* at *now_s* and return 0, or the seconds until one would be counted."""
        free_at_s = max(self._free_at_s.get(client, now_s), now_s)
        wait_s = free_at_s - now_s - self._burst_s
        if wait_s > 0:
            return wait_s
        self._free_at_s[client] = free_at_s + self._interval_s
        self._free_at_s.move_to_end(client)
        if len(self._free_at_s) > _CLIENTS:
            self._free_at_s.popitem(last=False)
        return 0.0
