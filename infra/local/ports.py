"""TCP ports of this machine."""

import socket
from secrets import randbelow

_FIRST, _LAST = 20_000, 32_000


def is_taken(host: str, port: int) -> bool:
    """Tell whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def free_port(run: int = 1) -> int:
    """Return the first of *run* free ports in a row.

    They are below the range that systems take for outgoing connections (32768 on Linux): one of those
    could have the port before its server does.
    """
    while True:
        port = _FIRST + randbelow(_LAST - _FIRST - run)
        if all(_is_free(port + i) for i in range(run)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
