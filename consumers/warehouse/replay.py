"""Reading topics once more, from wherever to where they end now, outside the sink's group."""

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as Place
from aiokafka.errors import KafkaError
from msgspec import Struct

from consumers.warehouse.domain.rows import Record
from infra import aiokafka_speed  # noqa: F401 - it changes aiokafka
from infra.settings import Settings
from schemas.errors import UnavailableError
from schemas.topics import BY_NAME, Topic

_POLL_MS = 100
Offsets = Mapping[tuple[str, int], int]


class Chunk(Struct, frozen=True):
    """Records of one partition, in order."""

    topic: Topic
    partition: int
    records: list[Record]


class Replay:
    """Where some topics begin and end at the moment it is opened, and what is between."""

    def __init__(self, consumer: Any, begins: Offsets, ends: Offsets) -> None:
        self._consumer, self.begins, self.ends = consumer, dict(begins), dict(ends)

    @classmethod
    async def open(cls, settings: Settings, topics: Collection[Topic]) -> "Replay":
        """Ask where *topics* begin and end.

        Raises:
            UnavailableError: the broker does not answer.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka, enable_auto_commit=False, fetch_max_bytes=16 << 20,
            max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=_POLL_MS, auto_offset_reset="earliest",
        )  # fmt: skip
        places = [Place(topic.name, p) for topic in topics for p in range(settings.partitions)]
        try:
            await consumer.start()
            consumer.assign(places)
            return cls(consumer, await consumer.beginning_offsets(places), await consumer.end_offsets(places))
        except KafkaError as error:
            await consumer.stop()
            raise UnavailableError("kafka", str(error)) from error

    async def close(self) -> None:
        """Let the broker go."""
        await self._consumer.stop()

    async def since_time(self, at_ms: int) -> Offsets:
        """Return the first offset of each partition that was appended at *at_ms* or later, or its end."""
        found = await self._consumer.offsets_for_times(dict.fromkeys(map(Place._make, self.ends), at_ms))
        return {place: self.ends[place] if at is None else at.offset for place, at in found.items()}

    async def chunks(self, starts: Offsets, ends: Offsets, most: int) -> AsyncGenerator[Chunk, None]:
        """Yield the records of each partition from its start, or its beginning, to its end, at most *most* at once.

        Raises:
            UnavailableError: the broker does not answer.
        """
        try:
            left = set()
            for place, end in ends.items():
                start = max(starts.get(place, 0), self.begins[place])
                self._consumer.seek(Place(*place), start)
                if start < end:
                    left.add(Place(*place))
            while left:
                found = await self._consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=most)
                for place, records in found.items():
                    wanted = [record for record in records if record.offset < ends[place]]
                    if wanted:
                        yield Chunk(BY_NAME[place.topic], place.partition, wanted)
                # Positions, not records, tell the end: compaction may have taken the last ones.
                left -= {place for place in left if await self._consumer.position(place) >= ends[place]}
        except KafkaError as error:
            raise UnavailableError("kafka", str(error)) from error
