"""The state of one partition on its changelog: what is written there, and how it is read back."""

from collections.abc import Iterable, Sequence
from struct import Struct as Layout

import msgspec

from pipelines.stream.program import Change, Offsets, Output, Record

POSITIONS = b"#positions"
_VERSION = Layout(">Q")  # before each value; big-endian, so bytes compare as numbers do
_V = _VERSION.size


def records(changelog: str, changes: Sequence[Change], positions: Offsets) -> list[Output]:
    """Return what to write for *changes*; the positions (input topic to next offset) that they reflect come last."""
    values = [None if c.value is None else _VERSION.pack(c.version) + c.value for c in changes]
    written = [Output(changelog, change.key, value, []) for change, value in zip(changes, values, strict=True)]
    return [*written, Output(changelog, POSITIONS, msgspec.json.encode(positions), [])]


class Restored:
    """State as the changelog tells it, read in any number of pieces.

    Of each key the highest version counts, not the last: a worker that was frozen while it
    wrote wakes up when another has its partitions, and writes what is long past. A case has one
    history, so both wrote states of it, and the higher version is the later one. Positions
    merge likewise: each writer's claim, that state reflects so much input, stays true.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self.positions: dict[str, int] = {}

    def take(self, piece: Iterable[Record]) -> None:
        """Read the next records of the changelog."""
        values = self._values
        for record in piece:
            key, value = record.key or b"", record.value
            if value is None:
                values.pop(key, None)
            elif key == POSITIONS:
                for topic, offset in msgspec.json.decode(value, type=dict[str, int]).items():
                    self.positions[topic] = max(offset, self.positions.get(topic, 0))
            elif (known := values.get(key)) is None or value[:_V] >= known[:_V]:
                values[key] = value

    def content(self) -> dict[bytes, bytes]:
        """Return keys and values, and let go of them."""
        values, self._values = self._values, {}
        return {key: value[_V:] for key, value in values.items()}
