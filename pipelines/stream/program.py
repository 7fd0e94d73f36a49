"""What runs in a lane: the rules of one partition, told of records and time, answering with effects.

A program is synchronous and touches nothing outside itself. The lane carries its
effects out in one order: outputs acknowledged, state acknowledged, source acknowledged.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

Headers = list[tuple[str, bytes]]
Offsets = Mapping[str, int]  # topic to next offset


class Record(Protocol):
    """One consumed record, as aiokafka's parser gives it."""

    offset: int
    timestamp: int  # ms, the broker's append time
    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes]]


class Output(Struct, frozen=True):
    """One record to send to the lane's own partition of *topic*."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class Change(Struct, frozen=True):
    """One key of the state and its new value; None deletes it.

    Versions of a key only grow: recovery keeps the highest, so what a frozen worker
    still writes after its successor changes nothing (see `Restored`).
    """

    key: bytes
    value: bytes | None
    version: int = 0


class Settled(Struct, frozen=True):
    """What a chunk or tick left to be written down."""

    outputs: Sequence[Output]
    changes: Sequence[Change]


class Program(Protocol):
    """The rules of one partition."""

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Start from recovered state."""

    def take(self, topic: str, record: Record) -> Sequence[Output]:
        """Apply one record of *topic* and return what it causes.

        Raises:
            RecordError: the record can never be applied; nothing changed.
        """

    def tick(self, at: datetime) -> Sequence[Output]:
        """Let time reach *at* and return what falls due."""

    def settle(self) -> Settled:
        """Return what changed since the last call, once a key."""


class Inputs(Struct, frozen=True, kw_only=True):
    """The input topics of a lane, by the order they keep among themselves.

    `openers` create things; they are applied as they come. `followers` speak of things
    that openers create: a chunk of them waits until every opener is read as far as it
    reached when the chunk arrived, so a command is never judged before its report.
    `ticks` waits for everything (see `Lane`).
    """

    openers: tuple[str, ...]
    followers: tuple[str, ...]
    ticks: str

    @property
    def all(self) -> tuple[str, ...]:
        """Return every input topic."""
        return (*self.openers, *self.followers, self.ticks)

    @property
    def timed(self) -> tuple[str, ...]:
        """Return the topics whose end offsets a tick carries."""
        return (*self.openers, *self.followers)
