"""Ours, for timers and recovery: a deadline a key, cancelled by an acknowledgement, fired by ticks.

The clock mechanics of the case engine (deadlines in state, a heap as their index, append times,
due before cancelled) without its forms, so that a million of them are about a million timers.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush

import msgspec
from msgspec import Struct

from infra import logs
from infra.settings import Settings
from pipelines.process import run as run_worker
from pipelines.stream.app import StreamApp, create_stream_app
from pipelines.stream.program import Change, Inputs, Output, Record, Settled
from schemas import codec
from schemas.errors import RecordError
from schemas.topics import CLOCK_TICKS, Topic
from tests.bench.progress import say


class Opened(Struct, frozen=True):
    """A case opens; its clock rings *delay_ms* after the broker has the record."""

    case_id: str
    delay_ms: int


class Acknowledged(Struct, frozen=True):
    """A case's clock stops, if this reached the broker in time."""

    case_id: str


_opened = msgspec.json.Decoder(Opened).decode
_acknowledged = msgspec.json.Decoder(Acknowledged).decode


class Clocks:
    """The clocks of one partition."""

    def __init__(self, partition: int, opens: str, fired: Topic) -> None:
        """Take cases from topic *opens*, announce what rings on *fired*."""
        self._partition, self._opens, self._fired = partition, opens, fired
        self._due_ms: dict[str, int] = {}
        self._index: list[tuple[int, str]] = []
        self._changed: dict[str, int] = {}  # to the offset of the record that changed it
        self._ticked = False

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Start from recovered state, and say how much there was."""
        self._due_ms = {key.decode(): int(value) for key, value in state.items()}
        self._index = [(due_ms, case_id) for case_id, due_ms in self._due_ms.items()]
        heapify(self._index)
        say("loaded", partition=self._partition, keys=len(self._due_ms), total=sum(self._due_ms.values()))

    def take(self, topic: str, record: Record) -> Sequence[Output]:
        """Open a clock or stop one."""
        try:
            if topic == self._opens:
                opened = _opened(record.value or b"")
                self._start(opened.case_id, record.timestamp + opened.delay_ms, record.offset)
                return ()
            case_id = _acknowledged(record.value or b"").case_id
        except msgspec.DecodeError as error:
            raise RecordError("not_json", str(error)) from error
        due_ms = self._due_ms.get(case_id)
        if due_ms is None:
            return ()  # it has rung
        return self._stop(case_id, due_ms, rings=record.timestamp >= due_ms)

    def _start(self, case_id: str, due_ms: int, offset: int) -> None:
        self._due_ms[case_id] = due_ms
        self._changed[case_id] = offset
        heappush(self._index, (due_ms, case_id))

    def _stop(self, case_id: str, due_ms: int, *, rings: bool) -> Sequence[Output]:
        del self._due_ms[case_id]
        self._changed[case_id] = 0
        if not rings:
            return ()
        at = datetime.fromtimestamp(due_ms / 1000, UTC)
        headers = codec.headers(self._fired, f"{case_id}/{due_ms}", at, "bench")
        return (Output(self._fired.name, case_id[:15].encode(), codec.encode([case_id, due_ms]), headers),)

    def tick(self, at: datetime) -> Sequence[Output]:
        """Ring what is due by *at*."""
        if not self._ticked:
            self._ticked = True
            say("ready", partition=self._partition)
        until_ms, rung = at.timestamp() * 1000, []
        while self._index and self._index[0][0] <= until_ms:
            due_ms, case_id = heappop(self._index)
            if self._due_ms.get(case_id) == due_ms:
                rung += self._stop(case_id, due_ms, rings=True)
        return rung

    def settle(self) -> Settled:
        """Return the clocks that were started or stopped."""
        changes = []
        for case_id, version in self._changed.items():
            due_ms = self._due_ms.get(case_id)
            changes.append(Change(case_id.encode(), None if due_ms is None else b"%d" % due_ms, version=version))
        self._changed.clear()
        return Settled((), changes)


def create_app(settings: Settings, run: str) -> StreamApp:
    """Return a worker of the group *run*; its topics are `<run>-opens`, `<run>-acks`, `<run>-fired`."""
    fired = Topic(name=f"{run}-fired", kind=None, key="grid_id", writer="worker", zh="", en="")
    return create_stream_app(
        run,
        settings,
        inputs=Inputs(openers=(f"{run}-opens",), followers=(f"{run}-acks",), ticks=CLOCK_TICKS.name),
        make_program=lambda p: Clocks(p, f"{run}-opens", fired),
    )


if __name__ == "__main__":
    logs.configure("bench")
    run_worker(create_app(Settings(), sys.argv[1]))
