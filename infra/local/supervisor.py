"""Runs the embedded stack: start order, readiness, restart with back-off, clean stop.

    broker, warehouse ─► topics, migrations ─► everything else side by side

A process that dies is started again after 0.5, 1, 2 … 10 s; one that exits with 78
(its set-up is wrong) is left down and makes the stack unhealthy.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, UnavailableError

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
_STEADY_S = 30.0  # a process that lived this long starts again at the first back-off
_STOP_S = 8.0  # SIGTERM, then SIGKILL

Say = Callable[[str, str, str], None]


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs one of our processes."""
    return (sys.executable, "-m", name, *arguments)


class Part(Struct, frozen=True, kw_only=True):
    """One process of the stack."""

    name: str
    command: tuple[str, ...]
    is_ready: "Callable[[Child], bool]"
    shows: str = ""  # address or path, for the checklist
    ready_s: float = 30.0


class Child:
    """A running part and its restarts."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self.part, self._settings = part, settings
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.started_s = 0.0
        self.next_start_s: float | None = None
        self.failed: str | None = None
        self._log_start = 0

    @property
    def log_path(self) -> Path:
        """Return where the process's own log lines go."""
        return self._settings.data_dir / "logs" / f"{self.part.name}.log"

    def start(self) -> None:
        """Start the process; its output is appended to its log file."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone: it stops them in order
            )
        self.started_s, self.next_start_s = monotonic_s(), None

    def has_said(self, event: str) -> bool:
        """Tell whether the process has logged *event* since its last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return event.encode() in log.read()

    def last_words(self) -> str:
        """Return the end of the process's log."""
        return f"{self.log_path} ends:\n{tail(self.log_path)}"

    def exit_code(self) -> int | None:
        """Return the exit code of a process that ended, or None while it runs."""
        return None if self.process is None else self.process.poll()

    def stop(self, timeout_s: float = _STOP_S) -> bool:
        """Ask the process to end, kill it after *timeout_s*; tell whether it ended by itself."""
        self.next_start_s = None
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return True
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        return True


class Supervisor:
    """Starts parts in order, keeps them up, stops them in order."""

    def __init__(self, settings: Settings, say: Say, pause: Callable[[float], None]) -> None:
        """Make a supervisor.

        Args:
            settings: given to every process through its environment.
            say: called with (mark, what, detail) for each event.
            pause: sleeps that many seconds; raises to interrupt.
        """
        self._settings, self._say, self._pause = settings, say, pause
        self.children: dict[str, Child] = {}
        os.environ.update(environment(settings))

    def start(self, *parts: Part) -> None:
        """Start *parts* side by side and wait until each is ready.

        Raises:
            UnavailableError: one exited, or was not ready within its time; the text holds the end of its log.
        """
        for part in parts:
            child = self.children[part.name] = Child(part, self._settings)
            child.start()
        waiting = [self.children[part.name] for part in parts]
        while waiting:
            waiting = [child for child in waiting if not self._is_ready(child)]
            self._pause(0.05)

    def _is_ready(self, child: Child) -> bool:
        part = child.part
        if part.is_ready(child):
            self._say("ok", part.name, f"{monotonic_s() - child.started_s:.1f} s  {part.shows}".rstrip())
            return True
        if child.exit_code() is not None or monotonic_s() > child.started_s + part.ready_s:
            child.failed = f"exit {child.exit_code()}"
            raise UnavailableError(part.name, f"did not become ready; {child.last_words()}")
        return False

    def watch(self) -> None:
        """Look after every process once: start again what has died and waited long enough."""
        for child in self.children.values():
            self._watch(child, monotonic_s())

    def _watch(self, child: Child, now_s: float) -> None:
        if child.next_start_s is not None:
            if now_s >= child.next_start_s:
                child.start()
                self._say("up", child.part.name, f"started again, time {child.restarts}")
            return
        code = child.exit_code()
        if code is None or child.failed:
            return
        if code == EXIT_SETUP:
            child.failed = f"exit {code}: its set-up is wrong"
            self._say("no", child.part.name, f"{child.failed}; {child.last_words()}")
            return
        child.restarts = 0 if now_s - child.started_s > _STEADY_S else child.restarts
        wait_s = BACKOFF_S[min(child.restarts, len(BACKOFF_S) - 1)]
        child.restarts += 1
        child.next_start_s = now_s + wait_s
        self._say("!!", child.part.name, f"died (exit {code}); again in {wait_s} s")

    def stop(self, names: Sequence[str]) -> bool:
        """Stop the named parts, in order; tell whether each ended by itself."""
        clean = True
        for name in names:
            child = self.children.get(name)
            if child is not None and child.process is not None:
                began = monotonic_s()
                ended = child.stop()
                clean &= ended
                self._say("--", name, f"stopped in {monotonic_s() - began:.1f} s{'' if ended else ' (killed)'}")
        return clean

    @property
    def unhealthy(self) -> list[str]:
        """Return the parts that are down for good."""
        return [name for name, child in self.children.items() if child.failed]


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that give a child the same settings."""
    found: dict[str, str] = {}
    for name, value in settings:
        text: Any = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        found[f"GRIDWATCH_{name.upper()}"] = str(text)
    return found


def tail(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log file."""
    if not path.exists():
        return "(no log)"
    with path.open("rb") as log:
        return _last_lines(log, lines)


def _last_lines(log: IO[bytes], lines: int) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 8192))
    return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
