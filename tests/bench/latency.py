"""Open-loop load and what comes back: latency from the moment a record should have been sent.

The feed keeps to its timetable whatever the answer takes, and a record that leaves late
counts from when it was due (otherwise a stall would hide the records it held up). Feed and
reader are processes of their own: in one, each would wait for the other's turn.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from time import sleep

from confluent_kafka import TopicPartition
from msgspec import Struct

from infra.clock import monotonic_s
from infra.kafka import Producer, consumer, headers
from infra.settings import Settings
from schemas import codec
from schemas.errors import UnavailableError

_PACE_S = 0.001  # the feed wakes this often
_POLL_S = 0.1
_SETTLE_S = 2.0  # feed and reader are connected by then
_PATIENCE_S = 30.0  # for the last record to arrive


class Sent(Struct, frozen=True):
    """One record to send."""

    key: str
    ce_id: str
    value: bytes


def feed(settings: Settings, topic: str, records: Sequence[Sent], start_s: float, per_s: float) -> float:
    """Send *records* at *per_s* a second from *start_s* of the monotonic clock on; return how late the last one left.

    Raises:
        UnavailableError: the broker does not take them.
    """
    with Producer(settings, "bench") as producer:
        for n, record in enumerate(records):
            while monotonic_s() < start_s + n / per_s:
                sleep(_PACE_S)
            ce_id = [("ce_id", record.ce_id.encode())]
            last = producer.send_raw(topic, key=record.key.encode(), value=record.value, headers=ce_id)
        late_s = monotonic_s() - start_s - (len(records) - 1) / per_s
        last.result(_PATIENCE_S)
    return late_s


def read(settings: Settings, topic: str, starts: dict[int, int], awaited: set[str], until_s: float) -> dict[str, float]:
    """Return when each of the *awaited* ids was first read from *topic*; gives up at *until_s*.

    Raises:
        UnavailableError: some did not arrive.
    """
    arrived: dict[str, float] = {}
    with closing(consumer(settings, "bench-reader")) as reader:
        reader.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])
        while len(arrived) < len(awaited):
            message = reader.poll(_POLL_S)
            if message is not None and message.error() is None:
                ident = codec.header(headers(message), "ce_id")
                if ident in awaited:
                    arrived.setdefault(ident, monotonic_s())
            elif monotonic_s() > until_s:
                raise UnavailableError("records", f"{len(awaited) - len(arrived)} of {topic} did not arrive")
    return arrived


class Course:
    """Measures how long records take from one topic to another."""

    def __init__(self, settings: Settings, pool: ProcessPoolExecutor) -> None:
        self._settings, self._pool = settings, pool

    def latencies_ms(self, into: str, out: str, suffix: str, records: Sequence[Sent], per_s: float) -> list[float]:
        """Send *records* to topic *into* and return, in order, how long each `<id><suffix>` took to reach *out*.

        Raises:
            UnavailableError: one did not arrive.
        """
        starts = self._ends(out)
        start_s = monotonic_s() + _SETTLE_S
        due = {f"{record.ce_id}{suffix}": start_s + n / per_s for n, record in enumerate(records)}
        until_s = start_s + len(records) / per_s + _PATIENCE_S
        reading = self._pool.submit(read, self._settings, out, starts, set(due), until_s)
        self._pool.submit(feed, self._settings, into, records, start_s, per_s).result()
        arrived = reading.result()
        return sorted((arrived[ident] - at_s) * 1000 for ident, at_s in due.items())

    def _ends(self, topic: str) -> dict[int, int]:
        with closing(consumer(self._settings, "bench-reader")) as reader:
            partitions = range(self._settings.partitions)
            return {p: reader.get_watermark_offsets(TopicPartition(topic, p))[1] for p in partitions}


@contextmanager
def course(settings: Settings) -> Iterator[Course]:
    """Open a course: two processes, for feed and reader."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield Course(settings, pool)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which *share* of *ordered* lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
