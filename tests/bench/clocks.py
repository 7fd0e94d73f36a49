"""A run of the clock program (`contenders/clocks.py`) on a stage: its topics, its cases, the oracle."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec

from infra.kafka import headers, read_to_end
from pipelines.stream.state import POSITIONS
from schemas import codec
from schemas.topics import Cleanup
from tests.bench.contenders.clocks import Acknowledged, Opened
from tests.bench.stage import Contender, Stage, topic
from tests.conftest import eventually

GRIDS = 1_000
PARTITIONS = 4
_PATIENCE_S = 120.0


def case_id(n: int) -> str:
    """Return the id of the *n*-th case."""
    return f"610117{n * 7919 % GRIDS:09d}-{n:08d}"


class ClockRun:
    """One group of the clock program and its topics."""

    def __init__(self, stage: Stage, name: str) -> None:
        """Create the topics of the run *name*."""
        self.stage, self.name = stage, name
        self.changelog = topic(f"{name}-state-changelog", Cleanup.COMPACT)
        self.opens, self.acks, self.fired = (topic(f"{name}-{kind}") for kind in ("opens", "acks", "fired"))
        stage.create(self.opens, self.acks, self.fired, self.changelog)

    @contextmanager
    def worker(self) -> Iterator[Contender]:
        """Run a worker until the block ends; then it is killed with SIGKILL."""
        with self.stage.contender("clocks", self.name) as running:
            yield running

    def open_cases(self, count: int, delay_ms: Callable[[int], int]) -> None:
        """Open *count* cases, the *n*-th with a clock of *delay_ms(n)*."""

        def record(n: int) -> tuple[bytes, bytes]:
            case = case_id(n)
            return case[:15].encode(), b'{"case_id":"%b","delay_ms":%d}' % (case.encode(), delay_ms(n))

        self.stage.fill(self.opens.name, count, record)

    def await_open(self, cases: int) -> None:
        """Wait until the changelog says that it reflects *cases* records of `opens`."""
        written = partial(self.stage.written, self.changelog.name)
        eventually(lambda: written() > cases and self._positions() >= cases, within_s=_PATIENCE_S, what="all are open")

    def _positions(self) -> int:
        reached: dict[int | None, int] = {}
        for message in read_to_end(self.stage.settings, self.changelog):
            if message.key() == POSITIONS:
                at = msgspec.json.decode(message.value() or b"{}").get(self.opens.name, 0)
                reached[message.partition()] = max(at, reached.get(message.partition(), 0))
        return sum(reached.values())

    def due_ms(self) -> Iterator[tuple[str, int]]:
        """Yield case and due time of everything ever opened, from the input alone."""
        opened = msgspec.json.Decoder(Opened).decode
        for message in read_to_end(self.stage.settings, self.opens):
            case = opened(message.value() or b"")
            yield case.case_id, message.timestamp()[1] + case.delay_ms

    def acknowledge(self, cases: Sequence[int], per_s: float) -> None:
        """Acknowledge *cases* in order, *per_s* a second."""

        def record(n: int) -> tuple[bytes, bytes]:
            case = case_id(cases[n]).encode()
            return case[:15], b'{"case_id":"%b"}' % case

        self.stage.fill(self.acks.name, len(cases), record, per_s=per_s)

    def acknowledged_ms(self) -> Iterator[tuple[str, int]]:
        """Yield case and append time of every acknowledgement, from the input alone."""
        acknowledged = msgspec.json.Decoder(Acknowledged).decode
        for message in read_to_end(self.stage.settings, self.acks):
            yield acknowledged(message.value() or b"").case_id, message.timestamp()[1]

    def rung(self) -> Iterator[tuple[str, str, int]]:
        """Yield case, id and append time of everything that rang."""
        for message in read_to_end(self.stage.settings, self.fired):
            ident = codec.header(headers(message), "ce_id") or ""
            yield ident.partition("/")[0], ident, message.timestamp()[1]
