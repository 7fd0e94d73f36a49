"""A broker that can be killed and started again on the same data."""

from contextlib import ExitStack
from subprocess import Popen
from typing import Self

from infra.clock import utc_now
from infra.reference import publish
from infra.settings import Settings
from tests.conftest import BROKER, running_broker


class Broker:
    """One embedded broker as a process; killed at the end."""

    def __init__(self, settings: Settings, *entry: str) -> None:
        """Make a broker that is `python -m entry…`; it is not started yet."""
        self.settings, self._entry = settings, entry or BROKER
        self._stack = ExitStack()
        self._child: Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        publish(self.settings, utc_now())
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stack.close()

    def start(self, within_s: float = 60.0) -> None:
        """Start it; return when every topic is there."""
        self._child = self._stack.enter_context(running_broker(self.settings, within_s, self._entry))

    @property
    def has_ended(self) -> bool:
        """Tell whether it ended by itself."""
        return self._child is not None and self._child.poll() is not None

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
