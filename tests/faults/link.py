"""One worker's own way to the broker, which can be cut.

The broker is told of a second listener whose advertised address is the link's; `python -m tests.faults.link
BEHIND LINK` is such a broker. Whoever starts from the link's address comes back to it for everything.
"""

import socket
import sys
import threading
from contextlib import suppress
from typing import Any, Self

from infra.local import broker
from infra.local.ports import free_port

_PIECE = 64 << 10


class Link:
    """Forwards connections from `port` to `behind`, both on this machine, until it is cut."""

    def __init__(self) -> None:
        """Choose two ports; nothing listens yet."""
        self.port, self.behind = free_port(), free_port()
        self._open = threading.Event()
        self._open.set()
        self._refusing = False
        self._sockets: list[socket.socket] = []
        self._door = socket.socket()

    @property
    def broker(self) -> tuple[str, str, str]:
        """Return the module, and its arguments, of a broker that is reached through this link too."""
        return ("tests.faults.link", str(self.behind), str(self.port))

    def __enter__(self) -> Self:
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._door.bind(("127.0.0.1", self.port))
        self._door.listen()
        threading.Thread(target=self._take, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._open.set()
        _close(self._door)

    def fall_silent(self) -> None:
        """Carry nothing more, in connections old and new, and tell nobody: a cable is pulled."""
        self._open.clear()

    def hang_up(self) -> None:
        """Close every connection, and each new one at once: a firewall resets them."""
        self._refusing = True
        while self._sockets:
            _close(self._sockets.pop())

    def mend(self) -> None:
        """Carry again what was held back, and whatever comes."""
        self._refusing = False
        self._open.set()

    def _take(self) -> None:
        with suppress(OSError):  # the door was closed
            while True:
                one, _ = self._door.accept()
                if self._refusing:
                    _close(one)
                    continue
                try:
                    other = socket.create_connection(("127.0.0.1", self.behind))
                except OSError:  # the broker is away itself
                    _close(one)
                    continue
                self._sockets += (one, other)
                if self._refusing:  # it was hung up meanwhile
                    self.hang_up()
                for ends in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                self._open.wait()
                target.sendall(piece)
        _close(target)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def main(behind: str, link: str) -> None:
    """Become a broker with one more listener."""
    stock = broker.properties

    def properties(*args: Any) -> dict[str, str]:
        found = stock(*args)
        more = {
            "listeners": f",LINK://127.0.0.1:{behind}",
            "advertised.listeners": f",LINK://127.0.0.1:{link}",
            "listener.security.protocol.map": ",LINK:PLAINTEXT",
        }
        return found | {name: found[name] + value for name, value in more.items()}

    broker.properties = properties
    broker.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
