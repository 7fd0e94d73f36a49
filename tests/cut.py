"""A proxy in front of the warehouse that cuts connections after a request has gone through whole.

Who asked cannot know whether it was done (Toxiproxy's `reset_peer`, on the answer).
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close sends RST
_INSERT = b"INSERT"


class Cutter:
    """Passes bytes both ways; every other answer to an INSERT is cut off, until *most* were."""

    def __init__(self, upstream: tuple[str, int], most: int) -> None:
        self._upstream, self._most = upstream, most
        self._listener = socket.create_server((upstream[0], 0))
        self.port: int = self._listener.getsockname()[1]
        self._seen, self.cut = 0, 0
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Accept until closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as server, suppress(OSError):
            inserting = threading.Event()
            threading.Thread(target=_forward, args=(client, server, inserting), daemon=True).start()
            while answer := server.recv(1 << 16):
                if inserting.is_set() and self._is_to_be_cut():
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
                inserting.clear()
                client.sendall(answer)

    def _is_to_be_cut(self) -> bool:
        with self._lock:
            self._seen += 1
            chosen = self._seen % 2 == 1 and self.cut < self._most
            self.cut += chosen
            return chosen

    def close(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _forward(client: socket.socket, server: socket.socket, inserting: threading.Event) -> None:
    with suppress(OSError):
        while sent := client.recv(1 << 16):
            if _INSERT in sent:
                inserting.set()
            server.sendall(sent)


@contextmanager
def cutter(upstream: tuple[str, int], most: int) -> Iterator[Cutter]:
    """Run a cutter in front of *upstream* until the block ends."""
    found = Cutter(upstream, most)
    threading.Thread(target=found.serve, daemon=True).start()
    yield found
    found.close()
