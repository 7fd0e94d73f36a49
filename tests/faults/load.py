"""Live load: workers report and move cases, cameras see things, and a ledger keeps what the broker acknowledged.

Each case follows one of four plans drawn by seed: left alone (its clocks climb the ladder), acknowledged,
handled, or verified. On the way it is asked for moves that its stage forbids: a worker that took such a
command a second time, later, would accept it.
"""

import random
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Self

import msgspec
from msgspec import Struct

from infra.clock import utc_now
from infra.kafka import Producer
from pipelines.domain import ids
from schemas import codec
from schemas.cameras import CameraEvent, Phase
from schemas.cases import Command, Move
from schemas.grid import Role
from schemas.topics import CAMERA_EVENTS, CASE_COMMANDS, REPORTS
from tests.builders import REGISTRY, a_report, an_activity

_BATCH_S = 0.05
_CASE_SCORE = 0.6  # from here on, the policy opens a case of what a camera sees
_PLANS: tuple[tuple[tuple[Move, bool], ...], ...] = (  # moves, and whether the checker asks instead of the worker
    (),
    ((Move.HANDLE, False), (Move.ACKNOWLEDGE, False)),
    ((Move.HANDLE, False), (Move.ACKNOWLEDGE, False), (Move.HANDLE, False)),
    (
        (Move.ACKNOWLEDGE, False),
        (Move.VERIFY, True),
        (Move.HANDLE, False),
        (Move.VERIFY, False),
        (Move.VERIFY, True),
    ),
)


_GOOD = codec.encode(a_report("poison"))
POISON: tuple[bytes | None, ...] = (
    None,
    b"",
    b"not json",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf" + _GOOD,  # a byte order mark
    b"[" * 5000,
    b'{"report_id":' + b"9" * 5000 + b"}",
    _GOOD[:-20],
    _GOOD + b"x",
    _GOOD.replace(b'"occurred_at":"2026', b'"occurred_at":"20xx'),
    _GOOD.replace(b'"grid_id":"6101', b'"grid_id":"9999'),
    _GOOD.replace(b'"item_code":"01001"', b'"item_code":"99999"'),
    _GOOD.replace(b'"channel":', b'"channel":NaN,"x":'),
    b"A" * 300_000,
)


class Sent(Struct, kw_only=True):
    """What the broker acknowledged."""

    reports: dict[str, str] = {}  # report id -> case id
    commands: set[str] = set()
    sightings: dict[str, str | None] = {}  # alert id -> the case that opens with it, if any
    bad: int = 0  # records that nobody can process


class Load:
    """Sends until the block ends; a record is in `sent` only when the broker has it."""

    def __init__(self, producer: Producer, *, seed: int, per_s: int, bad_share: float = 0.0) -> None:
        """Prepare *per_s* reports a second, with 2.5 times as many commands; *bad_share* of the reports are poison."""
        self.sent = Sent()
        self._rng = random.Random(seed)
        self._producer, self._batch, self._name = producer, max(1, int(per_s * _BATCH_S)), f"load-{seed}"
        self._bad_share = bad_share
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more; raise what kept the load from being sent."""
        self._ends.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._ends.is_set():
                began = time.monotonic()
                self.send_batch(self._batch)
                self._ends.wait(max(0.0, began + _BATCH_S - time.monotonic()))
        except BaseException as error:
            self._error = error
            raise

    def send_batch(self, n: int) -> None:
        """Send *n* reports, then, when they are acknowledged, what is asked of their cases."""
        self.spoil(sum(self._rng.random() < self._bad_share for _ in range(n)))
        self.see(n // 4)
        self._ask([command for case_id in self.report(n) for command in self._plan(case_id)])

    def spoil(self, n: int) -> None:
        """Send *n* records that cannot be processed, as reports and as commands."""
        _await([self._poison() for _ in range(n)])
        self.sent.bad += n

    def report(self, n: int) -> list[str]:
        """Send *n* reports; return their cases when all are acknowledged."""
        grids = {f"{self._name}-{len(self.sent.reports) + i}": self._rng.choice(_GRIDS) for i in range(n)}
        _await([self._report(report_id, grid) for report_id, grid in grids.items()])
        cases = {report_id: ids.case_id(grid, report_id) for report_id, grid in grids.items()}
        self.sent.reports.update(cases)
        return list(cases.values())

    def see(self, n: int) -> None:
        """Let cameras open *n* events and end them; every other one scores high enough for a case."""
        seen = len(self.sent.sightings) // 2
        events = [event for number in range(n) for event in self._sighting(seen + number)]
        _await(
            [
                self._producer.send(
                    CAMERA_EVENTS, key=event.grid_id, ce_id=_sighting_id(event), at=event.occurred_at, value=event
                )
                for event in events
            ]
        )
        for event in events:
            opens = event.phase is Phase.OPEN and event.score > _CASE_SCORE
            case_id = ids.case_id(event.grid_id, event.event_id) if opens else None
            self.sent.sightings[_sighting_id(event)] = case_id

    def _sighting(self, number: int) -> list[CameraEvent]:
        ident = f"{self._name}-seen-{number}"
        event = an_activity(ident, self._rng.choice(_CAMERAS), utc_now(), score=(0.9, 0.3)[number % 2])
        return [event, msgspec.structs.replace(event, phase=Phase.END)]

    def acknowledge(self, cases: Iterable[str]) -> None:
        """Let the grid's worker acknowledge *cases*."""
        self._ask([_command(case_id, 0, Move.ACKNOWLEDGE) for case_id in cases])

    def ask_in_vain(self, cases: Iterable[str], rounds: int) -> None:
        """Ask *rounds* times for a move that the stage of *cases* forbids: records to be read, and answered, first."""
        for n in range(1, rounds + 1):
            self._ask([_command(case_id, -n, Move.VERIFY) for case_id in cases])

    def _ask(self, commands: list[Command]) -> None:
        _await([self._command(command) for command in commands])
        self.sent.commands.update(command.command_id for command in commands)

    def _poison(self) -> Future[None]:
        topic, grid = self._rng.choice((REPORTS, CASE_COMMANDS)), self._rng.choice(_GRIDS)
        return self._producer.send_raw(topic.name, key=grid.encode(), value=self._rng.choice(POISON), headers=[])

    def _report(self, report_id: str, grid_id: str) -> Future[None]:
        report = a_report(report_id, grid_id)
        return self._producer.send(REPORTS, key=grid_id, ce_id=report_id, at=report.occurred_at, value=report)

    def _command(self, command: Command) -> Future[None]:
        return self._producer.send(
            CASE_COMMANDS, key=command.case_id[:15], ce_id=command.command_id, at=command.requested_at, value=command
        )

    def _plan(self, case_id: str) -> list[Command]:
        return [_command(case_id, n, *move) for n, move in enumerate(self._rng.choice(_PLANS))]


def _command(case_id: str, number: int, move: Move, by_checker: bool = False) -> Command:
    grid = case_id[:15]
    checker = REGISTRY.people_for(grid, Role.FULL_TIME)[0].id
    workers = [checker] if by_checker else [person.id for person in REGISTRY.people_for(grid, Role.PART_TIME)]
    by = (workers or [checker])[0]
    return Command(command_id=f"{case_id}-{number}", case_id=case_id, move=move, by=by, requested_at=utc_now())


def _sighting_id(event: CameraEvent) -> str:
    """Return the id of the event's record; its alert has the same."""
    return f"{event.event_id}:{event.phase}"


_CAMERAS = sorted(REGISTRY.cameras.values(), key=lambda camera: camera.id)
_GRIDS = sorted(grid for grid in REGISTRY.grids if REGISTRY.people_for(grid, Role.FULL_TIME))


def _await(sends: list[Future[None]]) -> None:
    for send in sends:
        send.result(60)
