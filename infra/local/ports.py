"""TCP ports of this machine."""

import socket

_LAST = 65_000


def is_taken(host: str, port: int) -> bool:
    """Tell whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def free_port(run: int = 1) -> int:
    """Return the first of *run* free ports in a row."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port + run <= _LAST and not any(is_taken("127.0.0.1", port + i) for i in range(run)):
            return port
