"""The lanes of one worker: opened when their partitions have arrived whole, closed when they leave.

This is where the engine meets Faust: chunks come in from agents, outputs and state go out by
the app's own idempotent producer, and every second each lane's owner writes a tick.
"""

import asyncio
import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import server_list
from faust.types import TP

from infra.aiokafka_speed import send_batches
from infra.clock import monotonic_s, utc_now
from infra.logs import logger
from pipelines.process import StandstillWatch, or_die
from pipelines.stream import state
from pipelines.stream.lane import Chunk, Lane
from pipelines.stream.program import Change, Inputs, Offsets, Output, Program
from pipelines.stream.state import Restored
from schemas import codec
from schemas.cases import Tick
from schemas.topics import CLOCK_TICKS

TICK_INTERVAL_S = 1.0

log = logger()


class Lanes:
    """All lanes of this worker, and their port to Faust."""

    def __init__(self, app: Any, table: Any, inputs: Inputs, make_program: Callable[[int], Program]) -> None:
        """Wire lanes to *app*; *table* is the one whose changelog holds their state."""
        self._app, self._table, self.inputs, self._make_program = app, table, inputs, make_program
        self._changelog: str = table.changelog_topic.get_topic_name()
        # What was read of changelogs, by partition, until lanes open.
        self.restored: defaultdict[int, Restored] = defaultdict(Restored)
        self._watch = StandstillWatch()
        self._lanes: dict[int, Lane] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._given_up = self._recovered = False
        self._asker: asyncio.Task[AIOKafkaConsumer] | None = None

    def assigned(self) -> None:
        """Start anew with the partitions that are here now: whatever was read of changelogs was for others."""
        self._given_up = self._recovered = False
        self._forget()

    async def recovered(self) -> None:
        """Note that state is complete: the next seek opens the lanes. A recovery may end late, its partitions gone."""
        self._recovered = not self._given_up

    async def open(self, expected: Mapping[TP, int]) -> None:
        """Open a lane for each partition that is here with all its inputs.

        Args:
            expected: committed offset of every input partition that has one.

        Raises:
            SetupError: an input was made anew under the engine's feet.
        """
        whole = self._whole_partitions()
        if not whole:
            return
        tps = [TP(topic, p) for p in whole for topic in self.inputs.all]
        ends = await self.ends(tps)
        earliest = await self._app.consumer.earliest_offsets(*tps)
        if not self._recovered or self._lanes:
            return  # looked at last: while the broker was asked, another seek may have come, or partitions gone
        starts = {tp: expected.get(tp, earliest.get(tp) or 0) for tp in tps}
        for p in whole:
            lane = Lane(p, self._make_program(p), self.inputs, self, {t: starts[TP(t, p)] for t in self.inputs.all})
            lane.load(self.restored[p], {t: ends[TP(t, p)] for t in self.inputs.all})
            self._lanes[p] = lane
            self._tasks.append(asyncio.create_task(or_die(lane.run()), name=f"lane-{p}"))
        self._forget()
        gc.freeze()  # state lives as long as its lane: no collection need walk through a million cases
        log.info("lanes_open", partitions=whole)

    def _forget(self) -> None:
        """Drop what was read of changelogs; the next recovery reads them from their beginning."""
        self.restored.clear()
        self._app.tables.recovery.active_offsets.clear()

    def _whole_partitions(self) -> list[int]:
        """Return partitions of which every input and the changelog are assigned here.

        A rolling upgrade that adds an input splits them between two workers for a while.
        """
        here = self._app.consumer.assignment()
        needed = (*self.inputs.all, self._changelog)
        return [p for p in range(self._table.partitions) if here.issuperset(TP(topic, p) for topic in needed)]

    async def close(self) -> None:
        """Finish what is under way in every lane and abandon the rest; nothing is acked that was not applied."""
        self._given_up, self._recovered = True, False
        for lane in self._lanes.values():
            lane.close()
        tasks, self._lanes, self._tasks, self._watch = self._tasks, {}, [], StandstillWatch()
        self._forget()
        await asyncio.gather(*tasks)

    def put(self, event: Any) -> None:
        """Hand one Faust event, a chunk of records, to its lane."""
        message = event.message
        chunk = Chunk(topic=message.topic, records=event.value, handle=event)
        lane = self._lanes.get(message.partition)
        (lane.put if lane else self.abandon)(chunk)

    async def keep_time(self) -> None:
        """Tick on every full second: Faust's timer would sleep a second after each tick's work."""
        try:
            while True:
                await asyncio.sleep(TICK_INTERVAL_S - monotonic_s() % TICK_INTERVAL_S)
                await or_die(self.tick())
        finally:
            if self._asker is not None and self._asker.done() and not self._asker.exception():
                await self._asker.result().stop()

    async def tick(self) -> None:
        """Append one tick to `clock.ticks` of every open partition, and see that commits and recovery move."""
        if not self.holds_lease:
            self._watch = StandstillWatch()  # nothing can move now, and a while is needed when it can again
            return
        self._check_progress(monotonic_s())
        # Before the ends: whatever was appended by then is within them.
        now = [(lane, lane.clock.read(monotonic_s())) for lane in self._lanes.values()]
        if now:
            ends = await self.ends(TP(topic, lane.partition) for lane, _ in now for topic in lane.timed)
            await asyncio.gather(*(self._tick(lane, at, ends) for lane, at in now if lane in self._lanes.values()))

    def _check_progress(self, now_s: float) -> None:
        for p, lane in self._lanes.items():
            for topic in self.inputs.all:
                committed = self._app.consumer.committed(TP(topic, p)) or lane.starts[topic]
                behind = committed < lane.read[topic]
                self._watch.check(f"commits of {topic}/{p}", committed, is_due=behind, now_s=now_s)
        waits = not self._lanes and bool(self._whole_partitions())
        read = sum(offset or 0 for offset in self._app.tables.recovery.active_offsets.values())
        self._watch.check("recovery", read, is_due=waits, now_s=now_s)

    async def _tick(self, lane: Lane, at: datetime | None, ends: Mapping[TP, int]) -> None:
        p = lane.partition
        value = codec.encode(Tick(at=at, ends={tp.topic: end for tp, end in ends.items() if tp.partition == p}))
        headers = codec.headers(CLOCK_TICKS, f"tick/{p}/{at.isoformat() if at else 'first'}", at or utc_now(), "worker")
        tick = Output(CLOCK_TICKS.name, None, value, headers)
        [metadata] = await send_batches(self._app.producer._ensure_producer(), CLOCK_TICKS.name, p, [tick])
        lane.clock.heard(datetime.fromtimestamp(metadata.timestamp / 1000, UTC), monotonic_s())

    # -- LanePort -----------------------------------------------------------------------------

    async def send(self, partition: int, outputs: Sequence[Output]) -> None:
        """Write *outputs*, each to *partition* of its topic; return when all are acknowledged."""
        by_topic: dict[str, list[Output]] = {}
        for output in outputs:
            by_topic.setdefault(output.topic, []).append(output)
        producer = self._app.producer._ensure_producer()
        await asyncio.gather(*(send_batches(producer, topic, partition, found) for topic, found in by_topic.items()))

    async def save(self, partition: int, changes: Sequence[Change], positions: Offsets) -> None:
        """Write *changes*, then how much input they reflect, to the changelog; return when all is acknowledged."""
        await self.send(partition, state.records(self._changelog, changes, positions))

    def is_current(self, chunk: Chunk) -> bool:
        """Tell whether the chunk was delivered in the consumer's present generation."""
        return bool(chunk.handle.message.generation_id == self._app.consumer_generation_id)

    @property
    def holds_lease(self) -> bool:
        """Tell whether the group surely still counts on this worker."""
        return bool(self._app.consumer.holds_lease)

    def acknowledge(self, chunk: Chunk) -> None:
        """Let the chunk's offsets be committed."""
        chunk.handle.ack()

    def abandon(self, chunk: Chunk) -> None:
        """Forget the chunk uncommitted: it will be delivered again."""
        self._app.consumer.abandon(chunk.handle.message)

    async def ends(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Return where *partitions* end now, as the broker says.

        It is asked on a connection of its own: on the consumer's, the question would wait for the
        fetch under way (100 ms when nothing comes), and in its thread's queue block the next.
        """
        if self._asker is None or (self._asker.done() and self._asker.exception()):  # it may fail with nobody waiting
            self._asker = asyncio.create_task(self._connect())
        asker = await asyncio.shield(self._asker)  # who asked first may be cancelled by a rebalance
        return await asker.end_offsets(list(partitions))  # type: ignore[no-any-return]

    async def _connect(self) -> AIOKafkaConsumer:
        asker = AIOKafkaConsumer(bootstrap_servers=server_list(self._app.conf.broker_consumer, 9092))
        await asker.start()
        return asker

    def set_flow(self, topic: str, partition: int, *, paused: bool) -> None:
        """Stop or resume fetching one input."""
        consumer, tp = self._app.consumer, TP(topic, partition)
        if paused:
            consumer.pause_partitions({tp})
        else:
            consumer.resume_partitions({tp})
