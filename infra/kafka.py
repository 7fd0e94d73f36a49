"""Kafka clients with the settings that keep promises: murmur2, idempotence, acks=all.

The Faust worker has clients of its own (`pipelines.stream`); every other process uses these.
"""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import Producer as _Producer
from msgspec import Struct

from infra.clock import monotonic_s
from infra.settings import Settings
from schemas import codec
from schemas.errors import UnavailableError
from schemas.topics import Topic

_PASSING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_GIVEN_UP_MS = 120_000
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.005, 0.08  # between two looks at what a batch has become
_POLL_S = 0.1  # `consume` waits this long for a full batch


class Outgoing(Struct, frozen=True, array_like=True):
    """One record as bytes, for whoever keeps it until Kafka has it."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Producer:
    """Sends structs to topics; every send is acknowledged by the broker or fails loudly.

    librdkafka's default partitioner is not Kafka's: `murmur2_random` puts a grid's
    records where aiokafka and Java put them. A thread of its own serves delivery
    reports, so futures end without anybody polling.
    """

    def __init__(self, settings: Settings, source: str) -> None:
        """Open a producer whose records say they come from `/gridwatch/<source>`."""
        self._source = source
        self._closing = threading.Event()
        self._producer = _opened(settings, _GIVEN_UP_MS)
        self._reports = threading.Thread(target=self._serve_reports, name=f"delivery-{source}", daemon=True)
        self._reports.start()

    def _serve_reports(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, topic: Topic, *, key: str, ce_id: str, at: datetime, value: Any) -> Future[None]:
        """Queue one record; the future ends when the broker has it, or with `UnavailableError`.

        Raises:
            UnavailableError: the local queue is full: the broker has not answered for long.
        """
        return self.send_raw(
            topic.name,
            key=key.encode(),
            value=codec.encode(value),
            headers=codec.headers(topic, ce_id, at, self._source),
        )

    def send_raw(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Future[None]:
        """Queue bytes as they are; otherwise like `send`."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # so a caller that gives up cannot cancel it under the delivery thread

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(UnavailableError("kafka", str(error)))

        try:
            self._producer.produce(topic, value=value, key=key, headers=list(headers), on_delivery=delivered)
        except BufferError as error:
            raise UnavailableError("kafka", "the send queue is full") from error
        return done

    def reaches_broker(self, timeout_s: float) -> bool:
        """Tell whether a broker answers within *timeout_s* seconds."""
        try:
            self._producer.list_topics(timeout=timeout_s)
        except KafkaException:
            return False
        return True

    def flush(self, timeout_s: float) -> int:
        """Wait for outstanding sends; return how many are still unacknowledged."""
        left: int = self._producer.flush(timeout_s)
        return left

    def close(self, timeout_s: float = 5.0) -> int:
        """Flush, end the delivery thread; return how many sends are still unacknowledged."""
        left = self.flush(timeout_s)
        self._closing.set()
        self._reports.join(timeout_s)
        return left


class BatchProducer:
    """Sends batches from an event loop and gives no record up, so that order survives any outage.

    It has no thread: librdkafka reports each record under Python's lock, and a thread that asks for that lock
    thousands of times a second stops the loop as often.
    """

    def __init__(self, settings: Settings) -> None:
        """Open a producer."""
        self._producer = _opened(settings, 0)

    async def send_all(self, records: Sequence[Outgoing]) -> None:
        """Return when the broker has *records*, sent in order.

        Raises:
            UnavailableError: it refused one, or the local queue is full; others may be there.
        """
        left, refused = 0, ""

        def delivered(error: KafkaError | None, _: Message) -> None:
            nonlocal left, refused
            left -= 1
            refused = refused or ("" if error is None else str(error))

        for record in records:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered
                )
            except BufferError:
                refused = "the send queue is full"
                break
            left += 1
        pause_s = _FIRST_PAUSE_S
        while left:
            await asyncio.sleep(pause_s)
            self._producer.poll(0)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
        if refused:
            raise UnavailableError("kafka", refused)


def _opened(settings: Settings, delivery_timeout_ms: int) -> _Producer:
    return _Producer(
        {
            "bootstrap.servers": settings.kafka,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,  # implies acks=all and order
            "delivery.timeout.ms": delivery_timeout_ms,  # 0 = never
            "message.max.bytes": 16 << 20,  # a dead letter is as large as what it is about, and its reason
            "linger.ms": 5,
            "compression.type": "lz4",
            "log_level": 2,
        }
    )


def consumer(settings: Settings, group: str, **overrides: Any) -> Consumer:
    """Open a consumer of *group* that starts at the earliest record and never commits by itself."""
    return Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 2,
            **overrides,
        }
    )


def read_to_end(
    settings: Settings, topic: Topic, *, partition: int | None = None, timeout_s: float = 30.0
) -> Iterator[Message]:
    """Yield every record that *topic*, or one *partition* of it, holds at the time of the call, in order.

    Raises:
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    with _asking(settings, f"read-{topic.name}") as reader:
        yield from _read_to_end(reader, topic.name, partition, timeout_s)


def read_between(
    settings: Settings, topic: str, bounds: Mapping[int, tuple[int, int]], *, timeout_s: float = 30.0
) -> Iterator[Message]:
    """Yield the records of *topic* from the first offset up to the second, by partition.

    Raises:
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    with _asking(settings, f"read-{topic}") as reader:
        yield from _read_between(reader, topic, bounds, timeout_s)


def _read_to_end(reader: Consumer, topic: str, partition: int | None, timeout_s: float) -> Iterator[Message]:
    found = reader.list_topics(topic, timeout=timeout_s).topics[topic].partitions if partition is None else [partition]
    bounds = {p: _bounds(reader, TopicPartition(topic, p), timeout_s) for p in found}
    yield from _read_between(reader, topic, bounds, timeout_s)


def _read_between(
    reader: Consumer, topic: str, bounds: Mapping[int, tuple[int, int]], timeout_s: float
) -> Iterator[Message]:
    left = {p: high for p, (low, high) in bounds.items() if low < high}
    reader.assign([TopicPartition(topic, p, bounds[p][0]) for p in left])
    deadline = monotonic_s() + timeout_s
    while left:
        for message in reader.consume(10_000, timeout=_POLL_S):
            if message.error() is not None:
                raise UnavailableError("kafka", str(message.error()))
            deadline = monotonic_s() + timeout_s
            if (message.offset() or 0) < bounds[message.partition() or 0][1]:
                yield message
        # Positions, not records, tell the end: compaction may have taken the last ones.
        reached = reader.position([TopicPartition(topic, p) for p in left])
        left = {at.partition: left[at.partition] for at in reached if at.offset < left[at.partition]}
        if left and monotonic_s() > deadline:
            raise UnavailableError("kafka", f"{topic} stopped before its end in partitions {sorted(left)}")


def bounds(settings: Settings, topic: str, *, timeout_s: float = 10.0) -> dict[int, tuple[int, int]]:
    """Return the first offset of each partition of *topic* and the one after its last.

    Raises:
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    with _asking(settings, f"read-{topic}") as reader:
        found = reader.list_topics(topic, timeout=timeout_s).topics[topic].partitions
        return {p: _bounds(reader, TopicPartition(topic, p), timeout_s) for p in found}


def _bounds(reader: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """Return the first offset of a partition and the one after its last.

    A topic that was just made is listed before its leader serves it: that passes, and is waited for.
    """
    deadline = monotonic_s() + timeout_s
    while True:
        try:
            low, high = reader.get_watermark_offsets(place, timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or monotonic_s() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return low, high


def headers(message: Message) -> list[tuple[str, bytes | None]]:
    """Return a record's headers as pairs of name and bytes."""
    found: Any = message.headers() or []
    return list(found)


def group_lag(settings: Settings, group: str, *, timeout_s: float = 10.0) -> dict[str, int]:
    """Return how many records of each topic *group* has not committed yet; topics it never committed are left out.

    Raises:
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    lag: dict[str, int] = {}
    with _asking(settings, group) as reader:
        for at in _committed(reader, timeout_s):
            low, high = reader.get_watermark_offsets(at, timeout=timeout_s)
            lag[at.topic] = lag.get(at.topic, 0) + max(0, high - max(low, at.offset))
    return lag


def committed(settings: Settings, group: str, *, timeout_s: float = 10.0) -> list[TopicPartition]:
    """Return the offsets that *group* has committed.

    Raises:
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    with _asking(settings, group) as reader:
        return _committed(reader, timeout_s)


def _committed(reader: Consumer, timeout_s: float) -> list[TopicPartition]:
    # Asked by a consumer that never joins: librdkafka's admin call for this crashes the process
    # when the group's coordinator moves or does not exist yet (confluentinc/librdkafka#5040).
    topics = reader.list_topics(timeout=timeout_s).topics
    places = [TopicPartition(name, p) for name, topic in topics.items() for p in topic.partitions]
    return [at for at in reader.committed(places, timeout=timeout_s) if at.offset >= 0]


@contextmanager
def _asking(settings: Settings, group: str) -> Iterator[Consumer]:
    reader = consumer(settings, group)
    try:
        yield reader
    except KafkaException as error:
        raise UnavailableError("kafka", str(error)) from error
    finally:
        reader.close()
