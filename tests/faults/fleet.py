"""Workers as processes of their own: started, killed, frozen, thawed, and restarted when they end by themselves.

The fleet is their supervisor, as `gridwatch up` or Kubernetes would be: a worker that ends unasked is
started again under the same name, and its exit code is kept.
"""

import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from subprocess import Popen
from typing import Any, Self

from infra.local.supervisor import tail
from infra.settings import Settings
from tests.conftest import eventually, process

REAL = ("pipelines",)
HARD = ("tests.faults.mutants",)
MANY = 5  # deaths in a row before a lane was open: this is no fault of the engine's, the build does not run


class Fleet:
    """Workers of one stack by name; whatever is left at the end is killed."""

    def __init__(self, settings: Settings, *entry: str, ways: Mapping[str, str] | None = None) -> None:
        """Make a fleet whose workers run `python -m entry…`; none is started yet.

        Args:
            settings: what they share.
            entry: the normal worker, if left out.
            ways: addresses of the broker, by worker, for those that have their own way there.
        """
        self.settings, self._entry, self._ways = settings, entry or REAL, ways or {}
        self._children: dict[str, Popen[bytes]] = {}
        self._log_from: dict[str, int] = {}
        self._stack = ExitStack()
        self._still_born: dict[str, int] = {}
        self.exits: list[int] = []  # codes of those that ended unasked
        self.kills = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.kill()
        self._stack.close()

    def start(self, *names: str) -> None:
        """Start the named workers; each name is a static member of the consumer group."""
        module, *args = self._entry
        for name in names:
            log = self._log(name)
            self._log_from[name] = log.stat().st_size if log.exists() else 0
            kafka = self._ways.get(name, self.settings.kafka)
            settings = self.settings.model_copy(update={"worker_id": name, "kafka": kafka})
            self._children[name] = self._stack.enter_context(process(module, settings, *args, log=log))

    def kill(self, name: str) -> None:
        """SIGKILL, frozen or not."""
        child = self._children.pop(name)
        child.kill()
        child.wait()
        self.kills += 1

    def freeze(self, name: str) -> None:
        """SIGSTOP: to everybody else as good as dead, but it will go on where it stood."""
        self._children[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self._children[name].send_signal(signal.SIGCONT)

    def stop(self, *names: str) -> float:
        """SIGTERM the named, or all, and wait until they have ended; return after how many seconds they had."""
        began = time.monotonic()
        ending = {name: self._children.pop(name) for name in names or list(self._children)}
        for child in ending.values():
            child.terminate()
        for name, child in ending.items():
            eventually(lambda ended=child: ended.poll() is not None, within_s=30, what=f"{name} ends on SIGTERM")
        return time.monotonic() - began

    def tend(self) -> None:
        """Start again whatever ended by itself."""
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                self.exits.append(code)
                self._still_born[name] = 0 if self.open_partitions(name) else self._still_born.get(name, 0) + 1
                assert self._still_born[name] < MANY, tail(self._log(name), 40)
                self.start(name)

    def run_for(self, seconds: float) -> None:
        """Let *seconds* pass, as supervisor."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tend()
            time.sleep(0.05)

    def comes_true(self, check: Callable[[], object], *, within_s: float) -> bool:
        """Tell whether *check* holds within *within_s* seconds; supervise meanwhile."""
        until = time.monotonic() + within_s
        while not check():
            if time.monotonic() > until:
                return False
            self.run_for(0.1)
        return True

    def await_open(self, within_s: float = 40.0) -> None:
        """Return when every worker has lanes, and each partition one."""

        def whole() -> bool:
            self.tend()
            opened = [self.open_partitions(name) for name in self._children]
            return all(opened) and sorted(chain(*opened)) == list(range(self.settings.partitions))

        eventually(whole, within_s=within_s, what="a lane is open for every partition")

    def open_partitions(self, name: str) -> list[int]:
        """Return the lanes that a worker opened last since it started."""
        opened = [line["partitions"] for line in self.said(name) if line.get("event") == "lanes_open"]
        return opened[-1] if opened else []

    def said(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of a worker since it started."""
        with self._log(name).open("rb") as log:
            log.seek(self._log_from[name])
            return [json.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"}\n")]

    def _log(self, name: str) -> Path:
        return self.settings.data_dir / f"{name}.log"
