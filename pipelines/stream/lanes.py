"""The lanes of one worker: opened when their partitions have arrived whole, closed when they leave.

This is where the engine meets Faust: chunks come in from agents, outputs and state go out by
the app's own idempotent producer, and every second each lane's owner writes a tick.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from faust.types import TP

from infra.clock import monotonic_s, utc_now
from infra.logs import logger
from pipelines.stream.lane import POSITIONS, Chunk, Lane
from pipelines.stream.program import Change, Inputs, Output, Program
from schemas import codec
from schemas.cases import Tick
from schemas.errors import EXIT_CRASH, EXIT_SETUP, SetupError
from schemas.topics import CLOCK_TICKS

# A record's append time is set a moment before it can be read; ticks stay this far behind.
TICK_MARGIN = timedelta(milliseconds=50)

log = logger()


class BrokerClock:
    """Estimates one partition leader's clock, never ahead of it: last append time plus what elapsed since."""

    def __init__(self) -> None:
        self._appended_at: datetime | None = None
        self._heard_s = 0.0
        self._latest: datetime | None = None

    def heard(self, appended_at: datetime, now_s: float) -> None:
        """Take the append time of an acknowledged record; *now_s* is monotonic."""
        self._appended_at, self._heard_s = appended_at, now_s

    def read(self, now_s: float) -> datetime | None:
        """Return broker time less the margin, never earlier than before; None before the first record."""
        if self._appended_at is None:
            return None
        estimate = self._appended_at + timedelta(seconds=now_s - self._heard_s) - TICK_MARGIN
        self._latest = max(estimate, self._latest or estimate)
        return self._latest


class Lanes:
    """All lanes of this worker, and their port to Faust."""

    def __init__(
        self,
        app: Any,
        table: Any,
        inputs: Inputs,
        make_program: Callable[[int], Program],
        state_partition: Callable[[bytes], int],
    ) -> None:
        """Wire lanes to *app*; *state_partition* tells whose a key of the state is."""
        self._app, self._table, self._inputs = app, table, inputs
        self._make_program, self._state_partition = make_program, state_partition
        self._lanes: dict[int, Lane] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._clocks: dict[int, BrokerClock] = {}
        self._ends: dict[TP, int] = {}
        self._recovered = False

    @property
    def open_partitions(self) -> list[int]:
        """Return the partitions whose lanes are open."""
        return sorted(self._lanes)

    def recovered(self) -> None:
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
        self._ends = dict(await self._app.consumer.highwaters(*tps))
        earliest = await self._app.consumer.earliest_offsets(*tps)
        starts = {tp: expected.get(tp, earliest.get(tp) or 0) for tp in tps}
        state = self._own_state(whole)
        for p in whole:
            lane = Lane(p, self._make_program(p), self._inputs, self, {t: starts[TP(t, p)] for t in self._inputs.all})
            lane.load(state[p], {t: self._ends[TP(t, p)] for t in self._inputs.all})
            self._lanes[p], self._clocks[p] = lane, BrokerClock()
            self._tasks[p] = asyncio.create_task(_or_die(lane.run()), name=f"lane-{p}")
        log.info("lanes_open", partitions=whole, keys=sum(map(len, state.values())))

    def _whole_partitions(self) -> list[int]:
        """Return partitions of which every input and the changelog are assigned here.

        A rolling upgrade that adds an input splits them between two workers for a while.
        """
        here = self._app.consumer.assignment()
        needed = (*self._inputs.all, self._table.changelog_topic.get_topic_name())
        return [p for p in range(self._table.partitions) if all(TP(topic, p) in here for topic in needed)]

    def _own_state(self, partitions: Sequence[int]) -> dict[int, dict[bytes, bytes]]:
        """Return recovered keys by partition; the memory store keeps keys of partitions that left."""
        state: dict[int, dict[bytes, bytes]] = {p: {} for p in partitions}
        for key, value in self._table.data.data.items():
            p = int(key.removeprefix(POSITIONS)) if key.startswith(POSITIONS) else self._state_partition(key)
            if p in state:
                state[p][POSITIONS if key.startswith(POSITIONS) else key] = value
        return state

    async def close(self) -> None:
        """Finish what is under way in every lane and abandon the rest; nothing is acked that was not applied."""
        self._recovered = False
        lanes, tasks = list(self._lanes.values()), list(self._tasks.values())
        for opened in (self._lanes, self._tasks, self._clocks):
            opened.clear()
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
        """Append one tick to `clock.ticks` of every open partition."""
        await asyncio.gather(*(self._tick(p) for p in self.open_partitions))

    async def _tick(self, p: int) -> None:
        clock = self._clocks[p]
        at = clock.read(monotonic_s())  # before the ends: whatever was appended by then is within them
        ends = await self._app.consumer.highwaters(*(TP(topic, p) for topic in self._inputs.timed))
        value = codec.encode(Tick(at=at, ends={tp.topic: end for tp, end in ends.items()}))
        headers = codec.headers(CLOCK_TICKS, f"tick/{p}/{at.isoformat() if at else 'first'}", at or utc_now(), "worker")
        sent = await self._send(p, Output(CLOCK_TICKS.name, None, value, headers))
        metadata = await sent
        clock.heard(datetime.fromtimestamp(metadata.timestamp / 1000, UTC), monotonic_s())

    # -- LanePort -----------------------------------------------------------------------------

    async def send(self, partition: int, outputs: Sequence[Output]) -> None:
        """Write *outputs*, each to *partition* of its topic; return when all are acknowledged."""
        await asyncio.gather(*[await self._send(partition, output) for output in outputs])

    async def _send(self, partition: int, output: Output) -> Awaitable[Any]:
        producer = self._app.producer._ensure_producer()
        sent: Awaitable[Any] = await producer.send(
            output.topic, value=output.value, key=output.key, partition=partition, headers=output.headers
        )
        return sent

    async def save(self, partition: int, changes: Sequence[Change]) -> None:
        """Write *changes* to changelog and store, in order; return when all are acknowledged."""
        changelog = self._table.changelog_topic.get_topic_name()
        named = [
            Change(POSITIONS + str(partition).encode() if change.key == POSITIONS else change.key, change.value)
            for change in changes
        ]
        await self.send(partition, [Output(changelog, change.key, change.value, []) for change in named])
        store = self._table.data.data
        for change in named:
            if change.value is None:
                store.pop(change.key, None)
            else:
                store[change.key] = change.value

    def is_current(self, chunk: Chunk) -> bool:
        """Tell whether the chunk was delivered in the consumer's present generation."""
        return bool(chunk.handle.message.generation_id == self._app.consumer_generation_id)

    def acknowledge(self, chunk: Chunk) -> None:
        """Let the chunk's offsets be committed."""
        chunk.handle.ack()

    def abandon(self, chunk: Chunk) -> None:
        """Forget the chunk uncommitted: it will be delivered again."""
        self._app.consumer.abandon(chunk.handle.message)

    def read_to(self, topic: str, partition: int) -> int:
        """Return the end offset of an input as last heard of."""
        tp = TP(topic, partition)
        return max(self._ends.get(tp, 0), self._app.consumer.highwater(tp) or 0)

    def set_flow(self, topic: str, partition: int, *, paused: bool) -> None:
        """Stop or resume fetching one input."""
        consumer, tp = self._app.consumer, TP(topic, partition)
        if paused:
            consumer.pause_partitions({tp})
        else:
            consumer.resume_partitions({tp})


async def _or_die(work: Awaitable[None]) -> None:
    """Run a lane; an error in it ends the process before anything is acked.

    Faust would restart the agent and skip the chunk.
    """
    try:
        await work
    except SetupError as error:
        log.critical("lane_cannot_run", reason=str(error))
        os._exit(EXIT_SETUP)
    except Exception:
        log.exception("lane_died")
        os._exit(EXIT_CRASH)
