"""The aggregate that every contender computes: per grid count, sum and greatest number of people.

Standing apart from the product, so that a peer's environment needs only msgspec to share it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

Cell = list[int]  # count, sum, greatest


class Reading(Struct, frozen=True):
    """What the aggregate needs of an event; its other fields are skipped by the decoder, for everybody alike."""

    grid_id: str
    people: int = 0  # reports of cases have none: there the aggregate is a count


decode = msgspec.json.Decoder(Reading).decode


def add(cell: Cell | None, people: int) -> Cell:
    """Return *cell* with one more reading."""
    if cell is None:
        return [1, people, people]
    return [cell[0] + 1, cell[1] + people, max(cell[2], people)]


def fold(readings: Sequence[int]) -> Cell:
    """Return the cell of *readings*, by other means than `add`: this is the oracle."""
    return [len(readings), sum(readings), max(readings)]
