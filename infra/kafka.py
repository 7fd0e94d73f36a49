"""Kafka clients with the settings that keep promises: murmur2, idempotence, acks=all.

The Faust worker has clients of its own (`pipelines.stream`); every other process uses these.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import Producer as _Producer

from infra.clock import monotonic_s
from infra.settings import Settings
from schemas import codec
from schemas.errors import UnavailableError
from schemas.topics import Topic

_POLL_S = 0.1  # `consume` waits this long for a full batch


class Producer:
    """Sends structs to topics; every send is acknowledged by the broker or fails loudly.

    librdkafka's default partitioner is not Kafka's: `murmur2_random` puts a grid's
    records where aiokafka and Java put them.
    """

    def __init__(self, settings: Settings, source: str) -> None:
        self._source = source
        self._producer = _Producer(
            {
                "bootstrap.servers": settings.kafka,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,  # implies acks=all and order
                "delivery.timeout.ms": 120_000,
                "linger.ms": 5,
                "compression.type": "lz4",
                "log_level": 2,
            }
        )

    def send(self, topic: Topic, *, key: str, ce_id: str, at: datetime, value: Any) -> Future[None]:
        """Queue one record; the future ends when the broker has it, or with `UnavailableError`.

        Raises:
            UnavailableError: the local queue is full: the broker has not answered for long.
        """
        return self.send_raw(
            topic.name,
            key=key.encode(),
            value=None if value is None else codec.encode(value),
            headers=codec.headers(topic, ce_id, at, self._source),
        )

    def send_raw(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Future[None]:
        """Queue bytes as they are; otherwise like `send`."""
        done: Future[None] = Future()

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(UnavailableError("kafka", str(error)))

        try:
            self._producer.produce(topic, value=value, key=key, headers=list(headers), on_delivery=delivered)
        except BufferError as error:
            self.poll()
            raise UnavailableError("kafka", "the send queue is full") from error
        self._producer.poll(0)
        return done

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve delivery reports for at most *timeout_s* seconds."""
        self._producer.poll(timeout_s)

    def flush(self, timeout_s: float) -> int:
        """Wait for outstanding sends; return how many are still unacknowledged."""
        left: int = self._producer.flush(timeout_s)
        return left


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


def read_to_end(settings: Settings, topic: Topic, *, timeout_s: float = 30.0) -> Iterator[Message]:
    """Yield every record that *topic* holds at the time of the call, partition by partition.

    Raises:
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    reader = consumer(settings, f"read-{topic.name}")
    try:
        found = reader.list_topics(topic.name, timeout=timeout_s).topics[topic.name]
        for partition in sorted(found.partitions):
            yield from _read_partition(reader, TopicPartition(topic.name, partition), timeout_s)
    except KafkaException as error:
        raise UnavailableError("kafka", str(error)) from error
    finally:
        reader.close()


def _read_partition(reader: Consumer, at: TopicPartition, timeout_s: float) -> Iterator[Message]:
    low, high = reader.get_watermark_offsets(at, timeout=timeout_s)
    if low == high:
        return
    reader.assign([TopicPartition(at.topic, at.partition, low)])
    position, deadline = low, monotonic_s() + timeout_s
    while position < high:
        for message in reader.consume(10_000, timeout=_POLL_S):
            if message.error() is not None:
                raise UnavailableError("kafka", str(message.error()))
            offset = message.offset()
            assert offset is not None  # noqa: S101 - only messages never produced have none
            position, deadline = offset + 1, monotonic_s() + timeout_s
            if offset < high:
                yield message
        # Compaction may have taken the last records: the position moves past them without a message.
        position = max(position, _position(reader, at))
        if monotonic_s() > deadline:
            raise UnavailableError("kafka", f"{at.topic}/{at.partition} stopped at {position} of {high}")
    reader.unassign()


def _position(reader: Consumer, at: TopicPartition) -> int:
    offset: int = reader.position([at])[0].offset
    return offset
