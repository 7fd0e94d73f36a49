"""From topics to tables: read, write, and only then commit.

Every arrow is at least once; rows are identified by their keys, so reading again after a
crash changes nothing that a view shows. One batch is written while the next is read; batches
of one sink never overtake each other, so of two versions the one that was read last is stored
last. While the warehouse is away the sink holds two batches, asks for no more and keeps its
place in the group: the topics are the buffer.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as Place
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError

from consumers.warehouse.batch import Batch
from consumers.warehouse.daily import every_day
from consumers.warehouse.domain.progress import TABLE as PROGRESS
from consumers.warehouse.domain.progress import Interval, Written
from consumers.warehouse.domain.rows import SUNK
from consumers.warehouse.store import Store
from infra import (
    aiokafka_speed,  # noqa: F401 - it changes aiokafka
    clock,
)
from infra.logs import logger
from infra.settings import Settings
from schemas.errors import UnavailableError
from schemas.topics import BY_NAME

GROUP: Final = "gridwatch-sink"
_POLL_S: Final = 0.05
_READ: Final = 10_000  # records at once: a batch is at most so much too large
_FIRST_RETRY_S: Final = 0.25
_LAST_RETRY_S: Final = 5.0
_LAST_WORDS_S: Final = 5.0  # for a write under way when the sink is told to stop
_DAY_MS: Final = 24 * 3600 * 1000


class Sink(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of the sink's consumer group."""

    def __init__(self, settings: Settings, store: Store, *, group: str = GROUP) -> None:
        self._settings, self._store, self._group = settings, store, group
        self._batch = Batch()
        self._interval = Interval(f"sink-{settings.worker_id}", clock.monotonic_s())
        self._reached: dict[tuple[str, int], int] = {}
        self._consumer: Any = None

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Move records until *stopping* says so; what is not committed then is read again by the next run.

        Raises:
            SetupError: the warehouse's tables are not those of this release.
            UnavailableError: the consumer has failed for good.
        """
        self._consumer = open_consumer(self._settings, self._group)
        self._consumer.subscribe([topic.name for topic in SUNK], listener=self)
        daily = asyncio.create_task(every_day(self._settings, self._group))
        try:
            await self._consumer.start()
            await self._move(stopping)
        except KafkaError as error:
            raise UnavailableError("kafka", str(error)) from error
        finally:
            daily.cancel()
            await self._consumer.stop()

    async def _move(self, stopping: Callable[[], bool]) -> None:
        writing: asyncio.Task[None] | None = None
        while not stopping():
            if writing is not None and writing.done():
                writing.result()
                writing = None
            if writing is None and self._batch.is_due(clock.monotonic_s()):
                batch, self._batch = self._batch, Batch()
                writing = asyncio.create_task(self._write(batch, stopping))
            if self._batch.is_full and writing is not None:
                await asyncio.wait({writing}, timeout=_POLL_S)
            else:
                await self._read()
        if writing is not None:
            await asyncio.wait({writing}, timeout=_LAST_WORDS_S)

    async def _read(self) -> None:
        found = await self._consumer.getmany(timeout_ms=int(_POLL_S * 1000), max_records=_READ)
        batch = self._batch
        await asyncio.sleep(0)  # the next fetch goes out before we work on this one
        if batch is not self._batch:
            return  # revoked in between: committing what follows would skip what was dropped
        now_s = clock.monotonic_s()
        for place, records in found.items():
            batch.add(BY_NAME[place.topic], place.partition, records, now_s)

    async def _write(self, batch: Batch, stopping: Callable[[], bool]) -> None:
        """Write and commit *batch*, trying again for as long as the warehouse is away."""
        delay_s, waited = _FIRST_RETRY_S, False
        tables, started_s = self._tables(batch), clock.monotonic_s()
        while not stopping():
            try:
                await asyncio.to_thread(self._store.write, tables, batch.rejects)
                break
            except UnavailableError as error:
                logger().warning("sink_waits", records=batch.records, reason=str(error))
            waited = True
            # Jitter, so that several sinks do not return in step.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, _LAST_RETRY_S)
        else:
            return
        if waited:
            logger().info("sink_goes_on")
        self._note(batch, seconds=clock.monotonic_s() - started_s)
        await self._commit(batch)

    def _tables(self, batch: Batch) -> dict[str, Any]:
        """Return the rows to write: those of *batch* and, every ten seconds, the sink's own."""
        tables, now_s = batch.tables(), clock.monotonic_s()
        self._reached |= batch.next_offsets
        if self._interval.is_due(now_s):
            tables[PROGRESS] = self._interval.close(clock.utc_now(), now_s, self._lags())
        return tables

    def _lags(self) -> Counter[str]:
        """Return how many records of each topic are behind what was given to be written, as the last fetch knew."""
        lags: Counter[str] = Counter()
        for place in self._consumer.assignment():
            end = self._consumer.highwater(place)
            if end is not None:
                lags[place.topic] += max(0, end - self._reached.get(place, end))
        return lags

    def _note(self, batch: Batch, *, seconds: float) -> None:
        now_ms = clock.utc_now().timestamp() * 1000
        rejects = Counter(reject.topic.name for reject in batch.rejects)
        for topic, records in batch.counts.items():
            written = Written(
                records=records,
                rejects=rejects[topic],
                freshness_ms=int(now_ms - batch.oldest_ms[topic]),
                write_ms=int(seconds * 1000),
            )
            self._interval.add(topic, written)

    async def _commit(self, batch: Batch) -> None:
        try:
            await self._consumer.commit({Place(*place): offset for place, offset in batch.next_offsets.items()})
        except (KafkaError, IllegalStateError) as error:
            # The rows are in; whoever owns the partitions reads them again.
            logger().warning("commit_refused", reason=str(error))

    async def on_partitions_assigned(self, assigned: set[Place]) -> None:
        """Say so: the supervisor waits for it."""
        logger().info("sink_assigned", partitions=len(assigned))

    async def on_partitions_revoked(self, revoked: set[Place]) -> None:
        """Drop what is not committed: its next owner, perhaps we, starts at the commit."""
        del revoked
        self._batch = Batch()
        self._reached = {}


def open_consumer(settings: Settings, group: str) -> Any:
    """Return a consumer, not started yet, that reads half a MiB of a partition ahead and never commits by itself."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=group,
        # A sink that comes back under its name takes its partitions at once, no rebalance.
        group_instance_id=f"sink-{settings.worker_id}",
        session_timeout_ms=int(settings.session_timeout_s * 1000),
        heartbeat_interval_ms=int(settings.session_timeout_s * 200),
        partition_assignment_strategy=[RangePartitionAssignor],  # librdkafka's, which sinks before this one used
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # While the warehouse is away nothing is asked for; heartbeats, on the same loop, show that we live.
        max_poll_interval_ms=_DAY_MS,
        fetch_max_wait_ms=int(_POLL_S * 1000),  # a fetch under way is of idle partitions: busy ones wait for it
        fetch_max_bytes=16 << 20,
        # Of every partition one fetch is kept while the warehouse is away; 4 MiB of each would be 208 in all.
        max_partition_fetch_bytes=512 << 10,
    )
