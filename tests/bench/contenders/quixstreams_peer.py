"""quixstreams as its documentation shows it: a stateful apply, RocksDB and a changelog topic."""

import sys
from tempfile import mkdtemp
from typing import Any

from quixstreams import Application
from quixstreams.state import State

from tests.bench.fold import Cell, Reading, add, decode
from tests.bench.progress import Progress


def main(kafka: str, topic: str, run: str, records: int) -> None:
    """Aggregate *records* of *topic*, then wait to be ended."""
    app = Application(
        broker_address=kafka,
        consumer_group=run,
        auto_offset_reset="earliest",
        state_dir=mkdtemp(),
        loglevel="WARNING",
    )
    progress = Progress(records)
    cells: dict[str, Cell] = {}

    def aggregate(reading: Reading, state: State) -> Cell:
        cell: Any = add(state.get("cell"), reading.people)
        state.set("cell", cell)
        cells[reading.grid_id] = cell
        if progress.add(1):
            progress.done(cells)
        return cell

    # Bytes and our decoder: faster than its own JSON deserializer.
    frame = app.dataframe(app.topic(topic, value_deserializer="bytes"))
    frame.apply(decode).apply(aggregate, stateful=True)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
