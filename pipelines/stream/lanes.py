"""The lanes of one worker: opened when their partitions have arrived whole, closed when they leave.

This is where the engine meets Faust: chunks come in from agents, outputs and state go out by
the app's own idempotent producer, and every second each lane's owner writes a tick.
"""

import asyncio
import gc
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from faust.types import TP

from infra.clock import BrokerClock, monotonic_s, utc_now
from infra.logs import logger
from pipelines.stream import state
from pipelines.stream.lane import Chunk, Lane
from pipelines.stream.program import Change, Inputs, Output, Program, Record
from pipelines.stream.state import Restored
from schemas import codec
from schemas.cases import Tick
from schemas.errors import EXIT_CRASH, EXIT_SETUP, SetupError
from schemas.topics import CLOCK_TICKS

COMMITS_STILL_S = 30.0

log = logger()


class Lanes:
    """All lanes of this worker, and their port to Faust."""

    def __init__(self, app: Any, table: Any, inputs: Inputs, make_program: Callable[[int], Program]) -> None:
        """Wire lanes to *app*; *table* is the one whose changelog holds their state."""
        self._app, self._table, self._inputs, self._make_program = app, table, inputs, make_program
        self._changelog: str = table.changelog_topic.get_topic_name()
        self._restored: defaultdict[int, Restored] = defaultdict(Restored)
        self._commits: dict[TP, tuple[int | None, float]] = {}
        self._lanes: dict[int, Lane] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._clocks: dict[int, BrokerClock] = {}
        self._recovered = False

    @property
    def open_partitions(self) -> list[int]:
        """Return the partitions whose lanes are open."""
        return sorted(self._lanes)

    async def recovered(self) -> None:
        """Note that state is complete: the next seek opens the lanes."""
        self._recovered = True

    async def open(self, expected: Mapping[TP, int]) -> None:
        """Open a lane for each partition that is here with all its inputs.

        Args:
            expected: committed offset of every input partition that has one.

        Raises:
            SetupError: an input was made anew under the engine's feet.
        """
        if not self._recovered or self._lanes:
            return
        whole = self._whole_partitions()
        tps = [TP(topic, p) for p in whole for topic in self._inputs.all]
        if not tps:
            return
        ends = await self._app.consumer.highwaters(*tps)
        earliest = await self._app.consumer.earliest_offsets(*tps)
        starts = {tp: expected.get(tp, earliest.get(tp) or 0) for tp in tps}
        for p in whole:
            lane = Lane(p, self._make_program(p), self._inputs, self, {t: starts[TP(t, p)] for t in self._inputs.all})
            lane.load(self._restored[p], {t: ends[TP(t, p)] for t in self._inputs.all})
            self._lanes[p], self._clocks[p] = lane, BrokerClock()
            self._tasks[p] = asyncio.create_task(or_die(lane.run()), name=f"lane-{p}")
        self._forget()
        gc.freeze()  # state lives as long as its lane: no collection need walk through a million cases
        log.info("lanes_open", partitions=whole)

    def restore(self, partition: int, piece: Sequence[Record]) -> None:
        """Take the next records of a partition's changelog."""
        self._restored[partition].take(piece)

    def _forget(self) -> None:
        """Drop what was read of changelogs; the next recovery reads them from their beginning."""
        self._restored.clear()
        self._app.tables.recovery.active_offsets.clear()
        self._table.data.data.clear()

    def _whole_partitions(self) -> list[int]:
        """Return partitions of which every input and the changelog are assigned here.

        A rolling upgrade that adds an input splits them between two workers for a while.
        """
        here = self._app.consumer.assignment()
        needed = (*self._inputs.all, self._changelog)
        return [p for p in range(self._table.partitions) if all(TP(topic, p) in here for topic in needed)]

    async def close(self) -> None:
        """Finish what is under way in every lane and abandon the rest; nothing is acked that was not applied."""
        self._recovered = False
        lanes, tasks = list(self._lanes.values()), list(self._tasks.values())
        for opened in (self._lanes, self._tasks, self._clocks, self._commits):
            opened.clear()
        self._forget()
        await asyncio.gather(*(lane.close() for lane in lanes))
        await asyncio.gather(*tasks)

    def put(self, event: Any) -> None:
        """Hand one Faust event, a chunk of records, to its lane."""
        message = event.message
        chunk = Chunk(topic=message.topic, records=event.value, handle=event)
        lane = self._lanes.get(message.partition)
        if lane is None or not self.is_current(chunk):
            self.abandon(chunk)
        else:
            lane.put(chunk)

    async def tick(self) -> None:
        """Append one tick to `clock.ticks` of every open partition, and see that commits move."""
        if not self.holds_lease:
            return
        self._check_commits(monotonic_s())
        await asyncio.gather(*(self._tick(p) for p in self.open_partitions))

    def _check_commits(self, now_s: float) -> None:
        """End the process when commits stand still behind what is applied: Faust's commit loop has been seen to die."""
        for p, lane in self._lanes.items():
            for tp in (TP(topic, p) for topic in self._inputs.all):
                committed = self._app.consumer.committed(tp)
                known, since_s = self._commits.get(tp, (None, now_s))
                if committed != known or lane.read(tp.topic) <= max(committed or 0, lane.starts[tp.topic]):
                    since_s = now_s
                self._commits[tp] = (committed, since_s)
                if now_s - since_s > COMMITS_STILL_S:
                    log.critical("commits_stand_still", topic=tp.topic, partition=p, committed=committed)
                    os._exit(EXIT_CRASH)

    async def _tick(self, p: int) -> None:
        clock = self._clocks[p]
        at = clock.read(monotonic_s())  # before the ends: whatever was appended by then is within them
        timed = [topic for topic in self._inputs.timed if topic not in self._lanes[p].stopped]
        value = codec.encode(Tick(at=at, ends=await self.ends(p, timed)))
        headers = codec.headers(CLOCK_TICKS, f"tick/{p}/{at.isoformat() if at else 'first'}", at or utc_now(), "worker")
        [sent] = await self._batches(p, CLOCK_TICKS.name, [Output(CLOCK_TICKS.name, None, value, headers)])
        metadata = await sent
        clock.heard(datetime.fromtimestamp(metadata.timestamp / 1000, UTC), monotonic_s())

    # -- LanePort -----------------------------------------------------------------------------

    async def send(self, partition: int, outputs: Sequence[Output]) -> None:
        """Write *outputs*, each to *partition* of its topic; return when all are acknowledged."""
        by_topic: dict[str, list[Output]] = {}
        for output in outputs:
            by_topic.setdefault(output.topic, []).append(output)
        queued = await asyncio.gather(*(self._batches(partition, topic, found) for topic, found in by_topic.items()))
        await asyncio.gather(*(acknowledged for batches in queued for acknowledged in batches))

    async def _batches(self, partition: int, topic: str, outputs: Iterable[Output]) -> list[Awaitable[Any]]:
        """Queue *outputs* in batches of our own: 1.4 µs a record, where `send` takes 7.5."""
        producer = self._app.producer._ensure_producer()
        queued, batch = [], producer.create_batch()
        for output in outputs:
            fields = {"key": output.key, "value": output.value, "timestamp": None, "headers": output.headers}
            if batch.append(**fields) is None:
                queued.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(**fields)
        queued.append(await producer.send_batch(batch, topic, partition=partition))
        return queued

    async def save(self, partition: int, changes: Sequence[Change], positions: Mapping[str, int]) -> None:
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

    async def ends(self, partition: int, topics: Iterable[str]) -> dict[str, int]:
        """Return where *topics* end now."""
        found = await self._app.consumer.highwaters(*(TP(topic, partition) for topic in topics))
        return {tp.topic: end for tp, end in found.items()}

    def set_flow(self, topic: str, partition: int, *, paused: bool) -> None:
        """Stop or resume fetching one input."""
        consumer, tp = self._app.consumer, TP(topic, partition)
        if paused:
            consumer.pause_partitions({tp})
        else:
            consumer.resume_partitions({tp})


async def or_die(work: Awaitable[None]) -> None:
    """Await *work*; an error in it ends the process before anything is acked.

    Faust would restart the agent and skip the chunk.
    """
    try:
        await work
    except SetupError as error:
        log.critical("worker_cannot_run", reason=str(error))
        os._exit(EXIT_SETUP)
    except Exception:
        log.exception("lane_died")
        os._exit(EXIT_CRASH)
