"""Ours: the same aggregate as a program of the engine, with everything on.

Lanes, ticks, the fence in every value, outputs and state acknowledged before the source,
dead letters: `create_stream_app` as the product runs it.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from infra import logs
from infra.settings import Settings
from pipelines.process import run as run_worker
from pipelines.stream.app import StreamApp, create_stream_app
from pipelines.stream.program import Change, Inputs, Output, Record, Settled
from schemas import codec
from schemas.errors import RecordError
from schemas.topics import CLOCK_TICKS, Topic
from tests.bench.fold import Cell, add, decode
from tests.bench.progress import Progress, say

_EMPTY: tuple[Cell | None, int] = (None, -1)


class GridTotals:
    """Totals of the grids of one partition; each value is fenced by the offset it was last changed by."""

    def __init__(self, output: Topic, progress: Progress) -> None:
        """Announce changed totals on *output* once a tick."""
        self._output, self._progress = output, progress
        self._totals: dict[str, tuple[Cell, int]] = {}  # and the offset of the last record in it
        self._changed: set[str] = set()
        self._unannounced: set[str] = set()
        self._taken = 0

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Start from recovered state."""
        for key, value in state.items():
            *cell, applied = msgspec.json.decode(value)
            self._totals[key.decode()] = (cell, applied)

    def take(self, _: str, record: Record) -> Sequence[Output]:
        """Add one reading to its grid."""
        try:
            reading = decode(record.value or b"")
        except msgspec.DecodeError as error:
            raise RecordError("not_json", str(error)) from error
        self._taken += 1
        cell, applied = self._totals.get(reading.grid_id, _EMPTY)
        if record.offset > applied:
            self._totals[reading.grid_id] = (add(cell, reading.people), record.offset)
            self._changed.add(reading.grid_id)
        return ()

    def tick(self, at: datetime) -> Sequence[Output]:
        """Announce the grids that changed since the last tick."""
        outputs = [
            Output(
                self._output.name,
                grid_id.encode(),
                codec.encode(self._totals[grid_id][0]),
                codec.headers(self._output, f"{grid_id}/{at.isoformat()}", at, "bench"),
            )
            for grid_id in sorted(self._unannounced)
        ]
        self._unannounced.clear()
        return outputs

    def settle(self) -> Settled:
        """Return the totals that changed."""
        changes = [
            Change(grid_id.encode(), codec.encode([*cell, applied]), version=applied)
            for grid_id, (cell, applied) in ((grid_id, self._totals[grid_id]) for grid_id in sorted(self._changed))
        ]
        self._unannounced |= self._changed
        self._changed.clear()
        if self._progress.add(self._taken):
            say("last", records=self._progress.seen)
        self._taken = 0
        return Settled((), changes)


def create_app(settings: Settings, topic: str, run: str, records: int) -> StreamApp:
    """Return a worker of the group *run* over *topic*."""
    output = Topic(name=f"{run}-totals", kind=None, key="grid_id", writer="worker", zh="", en="")
    progress = Progress(records)
    return create_stream_app(
        run,
        settings,
        inputs=Inputs(openers=(topic,), followers=(), ticks=CLOCK_TICKS.name),
        make_program=lambda _: GridTotals(output, progress),
    )


def main(_: str, topic: str, run: str, records: int) -> None:
    """Run until ended."""
    logs.configure("bench")
    run_worker(create_app(Settings(), topic, run, records))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
