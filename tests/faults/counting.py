"""A light program on the whole engine: events counted by grid, and an alert at every hundredth of a grid.

`python -m tests.faults.counting` is one worker of it. It does so little that tens of thousands of
events a second, and a kill in the middle of them, fit on two cores.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

import msgspec
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra import logs
from infra.kafka import headers, read_to_end
from infra.settings import Settings
from pipelines.process import run
from pipelines.stream.app import create_stream_app
from pipelines.stream.program import Change, Inputs, Output, Record, Settled
from pipelines.stream.state import Restored
from schemas import codec
from schemas.topics import CLOCK_TICKS, Topic, config

GROUP = "counting"
EVENTS = Topic(name="counting.events", kind=None, key="grid", writer="test", zh="", en="")
ALERTS = Topic(name="counting.alerts", kind=None, key="grid", writer="worker", zh="", en="")
CHANGELOG = Topic(name=f"{GROUP}-state-changelog", kind=None, key="grid", writer="worker", zh="", en="")
GRIDS = 1000
ALERT_EVERY = 100
MAX_CHUNK = 10_000  # records of one poll


class Counting:
    """Counts of the grids of one partition; each is fenced by the offset of the last event in it."""

    def __init__(self) -> None:
        self._counts: dict[bytes, tuple[int, int]] = {}
        self._changed: set[bytes] = set()

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._counts = {key: msgspec.json.decode(value, type=tuple[int, int]) for key, value in state.items()}

    def take(self, _: str, record: Record) -> Sequence[Output]:
        grid = record.key or b""
        count, applied = self._counts.get(grid, (0, -1))
        if record.offset <= applied:
            return ()
        count += 1
        self._counts[grid] = (count, record.offset)
        self._changed.add(grid)
        if count % ALERT_EVERY:
            return ()
        return (Output(ALERTS.name, grid, *alert(grid, count, record.offset)),)

    def tick(self, at: datetime) -> Sequence[Output]:
        return ()

    def settle(self) -> Settled:
        found = [(grid, self._counts[grid]) for grid in self._changed]
        self._changed.clear()
        return Settled((), [Change(grid, msgspec.json.encode(value), value[1]) for grid, value in found])


def alert(grid: bytes, count: int, offset: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return value and headers of the alert that event *offset* causes."""
    return msgspec.json.encode([grid.decode(), count, offset]), [("ce_id", b"%s/%d" % (grid, count))]


def create_topics(settings: Settings) -> None:
    """Create what the program reads and writes."""
    wanted = [
        NewTopic(topic.name, num_partitions=settings.partitions, replication_factor=1, config=config(topic))
        for topic in (EVENTS, ALERTS, CHANGELOG)
    ]
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    for made in admin.create_topics(wanted).values():
        made.result(30)


def producer(settings: Settings) -> Producer:
    """Return a producer for tens of thousands of events a second; `flush` tells whether all arrived."""
    return Producer(
        {
            "bootstrap.servers": settings.kafka,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 20,
            "queue.buffering.max.messages": 500_000,
            "log_level": 2,
        }
    )


def disagreements(settings: Settings, *, kills: int) -> list[str]:
    """Return in what counts and alerts of a stopped engine differ from a fold of the events."""
    counts, due = _fold(settings)
    sent: dict[str, set[bytes]] = {}
    alerts = list(read_to_end(settings, ALERTS))
    for message in alerts:
        sent.setdefault(codec.header(headers(message), "ce_id") or "", set()).add(message.value() or b"")
    runs = _repeats(alerts)
    print(f"{sum(counts.values())} events, {len(due)} alerts due, {len(alerts) - len(sent)} repeated: {runs} runs")
    wrong = {
        "counts that are not the fold's": _recovered(settings).items() ^ counts.items(),
        "alerts missing": due.keys() - sent.keys(),
        "alerts not due": sent.keys() - due.keys(),
        "repeats that are not byte-equal": {i for i, values in sent.items() if values != {due.get(i)}},
        "repeats longer than a chunk": [events for events in runs if events > MAX_CHUNK],
        "more repeats than lanes killed": runs[kills * settings.partitions :],
    }
    return [f"{what}: {len(found)}, e.g. {list(found)[:3]}" for what, found in wrong.items() if found]


def _fold(settings: Settings) -> tuple[Counter[str], dict[str, bytes]]:
    counts: Counter[str] = Counter()
    due = {}
    for message in read_to_end(settings, EVENTS):
        grid = message.key() or b""
        counts[grid.decode()] += 1
        count = counts[grid.decode()]
        if count % ALERT_EVERY == 0:
            due[f"{grid.decode()}/{count}"] = alert(grid, count, message.offset() or 0)[0]
    return counts, due


def _recovered(settings: Settings) -> dict[str, int]:
    """Return the counts that a worker which starts now would recover."""
    restored = [Restored() for _ in range(settings.partitions)]
    for message in read_to_end(settings, CHANGELOG):
        restored[message.partition() or 0].take([_Piece(message.key(), message.value())])
    content = [item for each in restored for item in each.content().items()]
    return {key.decode(): msgspec.json.decode(value)[0] for key, value in content}


class _Piece(msgspec.Struct):
    key: bytes | None
    value: bytes | None


def _repeats(alerts: list[Message]) -> list[int]:
    """Return how many events each uninterrupted run of repeated alerts spans."""
    runs = []
    alerts.sort(key=lambda message: (message.partition(), message.offset()))
    for _, found in groupby(alerts, key=lambda message: message.partition()):
        seen: set[bytes] = set()
        runs += [max(run) - min(run) + 1 for run in _runs(found, seen)]
    return runs


def _runs(alerts: Iterator[Message], seen: set[bytes]) -> Iterator[list[int]]:
    def is_repeat(message: Message) -> bool:
        value = message.value() or b""
        known = value in seen
        seen.add(value)
        return known

    for repeated, found in groupby(alerts, key=is_repeat):
        if repeated:
            yield [msgspec.json.decode(message.value() or b"")[2] for message in found]


def main() -> None:
    """Run one worker."""
    logs.configure("counting")
    inputs = Inputs(openers=(EVENTS.name,), followers=(), ticks=CLOCK_TICKS.name)
    run(create_stream_app(GROUP, Settings(), inputs=inputs, make_program=lambda _: Counting()))


if __name__ == "__main__":
    main()
