"""The worker with a safeguard switched off, or under conditions that are hard but lawful.

`python -m tests.faults.mutants NAME…` patches what is named and then runs the normal worker: the
product itself has no switches. `HARDSHIPS` a sound engine endures; a build of `SAFEGUARDS` less one
must be found out by the scenarios.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from faust import Stream
from mode.utils.queues import FlowControlEvent
from msgspec.structs import replace

from pipelines.__main__ import main
from pipelines.agents.case_program import CaseProgram, CaseState
from pipelines.stream import lane as lane_module
from pipelines.stream.chunks import ChunkConsumer, ChunkConsumerThread, ResumeOnce
from pipelines.stream.lane import Lane
from pipelines.stream.lanes import Lanes
from pipelines.stream.program import Change, Output
from pipelines.stream.state import POSITIONS, Restored

RECOVERY_S, OPENING_S = 0.3, 1.5
HAND_OVER_S = 0.05
FETCH_BYTES = 4 << 10
ACK_S = 0.2  # longest time that the broker takes to acknowledge, under `slow_acks`

# -- hardships --------------------------------------------------------------------------------------


def slow_recovery() -> None:
    """0.3 s of work when state is recovered, 1.5 s until lanes are open, 0.3 s until flow is resumed."""
    recovered, open_lanes, seek = Lanes.recovered, Lanes.open, ChunkConsumer.perform_seek

    async def slow(self: Lanes) -> None:
        time.sleep(RECOVERY_S)  # noqa: ASYNC251 - the event loop stands still, as it does when rules load a large state
        await recovered(self)

    async def slow_open(self: Lanes, expected: Mapping[Any, int]) -> None:
        await asyncio.sleep(OPENING_S)
        await open_lanes(self, expected)

    async def slow_seek(self: ChunkConsumer) -> None:
        await seek(self)
        await asyncio.sleep(RECOVERY_S)

    Lanes.recovered, Lanes.open, ChunkConsumer.perform_seek = slow, slow_open, slow_seek


def slow_agents() -> None:
    """The agents are slow in handing chunks over, so that chunks wait in Faust's queues."""
    noack = Stream.noack

    def slow(self: Stream) -> Stream:
        stream = noack(self)
        events = stream.events

        async def one_at_a_time() -> AsyncIterator[Any]:
            async for event in events():
                await asyncio.sleep(HAND_OVER_S)
                yield event

        stream.events = one_at_a_time
        return stream

    Stream.noack = slow


def small_fetches() -> None:
    """A fetch brings a few records: a backlog is many chunks."""
    create = ChunkConsumerThread._create_worker_consumer

    def small(self: ChunkConsumerThread, transport: Any) -> Any:
        consumer = create(self, transport)
        consumer._max_partition_fetch_bytes = FETCH_BYTES
        return consumer

    ChunkConsumerThread._create_worker_consumer = small


def slow_acks() -> None:
    """Outputs wait up to 0.2 s before they are sent, as behind a busy broker."""
    send, rng = Lanes.send, random.Random(1)

    async def slow(self: Lanes, partition: int, outputs: Sequence[Output]) -> None:
        is_state = any(output.topic == self._changelog for output in outputs)
        await asyncio.sleep(0.0 if is_state else rng.uniform(0.0, ACK_S))
        await send(self, partition, outputs)

    Lanes.send = slow


def bad_deploy() -> None:
    """A release whose rules stumble over every report."""

    def stumble(self: CaseProgram, record: Any, at: Any) -> Any:
        raise KeyError("a field that this release expects")

    CaseProgram._take_report = stumble


# -- safeguards, switched off -----------------------------------------------------------------------


def contiguity() -> None:
    """Whatever was fetched is delivered: chunks from before a seek too, and gaps are believed at once."""

    async def as_fetched(self: ChunkConsumer, tp: Any, records: Sequence[Any]) -> Sequence[Any]:
        return records

    fetch_dropped = ChunkConsumer._fetch_dropped

    async def of_changelogs_alone(self: ChunkConsumer) -> None:
        self._dropped = {tp for tp in self._dropped if tp.topic not in self.app.lanes.inputs.all}
        await fetch_dropped(self)

    ChunkConsumer._contiguous = as_fetched
    ChunkConsumer._fetch_dropped = of_changelogs_alone
    ChunkConsumer._is_seeking = property(lambda self: False, lambda self, value: None)


def lane() -> None:
    """Chunks of a partition are applied side by side, each as soon as it is there."""

    def at_once(self: Lane, chunk: Any) -> None:
        running = asyncio.create_task(self._apply(chunk))
        _RUNNING.add(running)
        running.add_done_callback(_RUNNING.discard)

    Lane.put = at_once


_RUNNING: set[asyncio.Task[None]] = set()


def fence() -> None:
    """Recovered state does not know up to where inputs were applied."""
    load_lane, load_program = Lane.load, CaseProgram.load

    def without_positions(self: Lane, restored: Restored, ends: Mapping[str, int]) -> None:
        restored.positions.clear()
        load_lane(self, restored, ends)

    def without_commands_read(self: CaseProgram, state: Mapping[bytes, bytes]) -> None:
        load_program(self, {key: _forgetful(key, value) for key, value in state.items()})

    Lane.load, CaseProgram.load = without_positions, without_commands_read


def _forgetful(key: bytes, value: bytes) -> bytes:
    if b"/" in key:  # not a case
        return value
    known = msgspec.json.decode(value, type=CaseState)
    return msgspec.json.encode(replace(known, commands_read=0))


def flow_control() -> None:
    """Stock flow control: every resume clears the queues, and recovery resumes twice."""
    ResumeOnce.resume = FlowControlEvent.resume


def outputs_first() -> None:
    """State is saved before outputs are sent."""
    make = Lane.__init__

    def with_state_first(self: Lane, *args: Any) -> None:
        partition, program, inputs, port, starts = args
        make(self, partition, program, inputs, StateFirst(port), starts)

    Lane.__init__ = with_state_first


class StateFirst:
    """A lane's port that keeps outputs back until state is saved."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self._kept: dict[int, Sequence[Output]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def send(self, partition: int, outputs: Sequence[Output]) -> None:
        self._kept[partition] = outputs

    async def save(self, partition: int, changes: Sequence[Change], positions: Mapping[str, int]) -> None:
        await self._port.save(partition, changes, positions)
        await self._port.send(partition, self._kept.pop(partition))


def tick_ends() -> None:
    """Ticks take effect as they come, whatever is still to be read."""
    lane_module._needs = lambda records, inputs: {}


def lease() -> None:
    """A worker believes that it is a member as long as nobody tells it otherwise."""
    ChunkConsumer.holds_lease = True


def merge() -> None:
    """Of each key the last value on the changelog counts, whoever wrote it."""

    def take(self: Restored, piece: Iterable[Any]) -> None:
        for record in piece:
            if record.key == POSITIONS:
                self.positions = msgspec.json.decode(record.value)
            elif record.value is not None:
                self._values[record.key] = record.value

    Restored.take = take


def frozen_worker() -> None:
    """Neither lease nor merge: each alone was seen to be enough in every run so far, so both go."""
    lease()
    merge()


HARDSHIPS: tuple[Callable[[], None], ...] = (slow_recovery, slow_agents, slow_acks, small_fetches, bad_deploy)
SAFEGUARDS = (contiguity, lane, fence, flow_control, outputs_first, tick_ends, frozen_worker)
_BY_NAME = {patch.__name__: patch for patch in (*HARDSHIPS, *SAFEGUARDS)}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        _BY_NAME[name]()
    main()
