"""bytewax in its fastest form: batches decoded at once, state kept per key and batch, no recovery store."""

import sys
from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink, run_main

from tests.bench.fold import Cell, add, decode
from tests.bench.progress import Progress


class Total(StatefulBatchLogic[int, tuple[int, Cell], Cell]):
    """The total of one grid."""

    def __init__(self, cell: Cell | None) -> None:
        self._cell = cell or []

    def on_batch(self, values: list[int]) -> tuple[Iterable[tuple[int, Cell]], bool]:
        """Add *values*; say how many there were and what came of it."""
        for people in values:
            self._cell = add(self._cell or None, people)
        return [(len(values), self._cell)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Cell:
        """Return what a recovery store would keep."""
        return self._cell


def keyed(batch: list[Any]) -> list[tuple[str, int]]:
    """Return grid and people of a batch of messages."""
    return [(reading.grid_id, reading.people) for reading in (decode(message.value) for message in batch)]


def main(kafka: str, topic: str, run: str, records: int) -> None:
    """Aggregate *records* of *topic*, then wait to be ended."""
    progress = Progress(records)
    cells: dict[str, Cell] = {}

    def count(total: tuple[str, tuple[int, Cell]]) -> None:
        grid_id, (counted, cells[grid_id]) = total
        if progress.add(counted):
            progress.done(cells)

    flow = Dataflow("grids")
    source = KafkaSource([kafka], [topic], batch_size=10_000, add_config={"group.id": run})
    readings = op.flat_map_batch("decode", op.input("events", flow, source), keyed)
    totals = op.stateful_batch("total", readings, Total)
    op.output("out", op.map("count", totals, count), TestingSink([]))
    run_main(flow)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
