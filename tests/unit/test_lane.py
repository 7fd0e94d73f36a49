"""The lane's order: of inputs, of effects, of time."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from infra.deadletters import MOST
from pipelines.stream import state
from pipelines.stream.lane import PAUSE_AT, Chunk, Lane
from pipelines.stream.program import Change, Inputs, Output, Settled
from pipelines.stream.state import Restored
from schemas import codec
from schemas.cases import Tick
from schemas.errors import RecordError, SetupError
from tests.builders import NINE

INPUTS = Inputs(openers=("reports",), followers=("commands",), ticks="ticks")


def records(topic: str, *offsets: int, value: bytes = b"x") -> list[Any]:
    return [
        SimpleNamespace(topic=topic, partition=0, offset=o, timestamp=0, key=b"k", value=value, headers=[])
        for o in offsets
    ]


def chunk(topic: str, *offsets: int) -> Chunk:
    return Chunk(topic=topic, records=records(topic, *offsets), handle=None)


def tick_chunk(offset: int, **ends: int) -> Chunk:
    return Chunk(
        topic="ticks", records=records("ticks", offset, value=codec.encode(Tick(at=NINE, ends=ends))), handle=None
    )


def positions(**offsets: int) -> Restored:
    """Return the state of a partition that says no more than how far it is."""
    restored = Restored()
    [written] = state.records("changelog", [], offsets)
    restored.take([SimpleNamespace(key=written.key, value=written.value)])
    return restored


class Script:
    """Program and port in one: writes down everything that happens, in order."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.known_ends: dict[str, int] = {}
        self.current = self.is_member = True
        self.bad: set[int] = set()

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self.story.append(f"load {len(state)}")

    def take(self, topic: str, record: Any) -> list[Output]:
        if record.offset in self.bad:
            raise RecordError("not_json", "no")
        self.story.append(f"{topic} {record.offset}")
        return [Output("out", b"k", b"v", [])]

    def tick(self, at: datetime) -> list[Output]:
        self.story.append("tick")
        return []

    def settle(self) -> Settled:
        return Settled([], [Change(b"key", b"value")])

    async def send(self, partition: int, outputs: Sequence[Output]) -> None:
        await asyncio.sleep(0)
        self.story.append("sent " + ",".join(o.topic for o in outputs))

    async def save(self, partition: int, changes: Sequence[Change], positions: Mapping[str, int]) -> None:
        await asyncio.sleep(0)
        self.story.append(f"saved {dict(positions)}")

    def is_current(self, chunk: Chunk) -> bool:
        return self.current

    @property
    def holds_lease(self) -> bool:
        return self.is_member

    def acknowledge(self, chunk: Chunk) -> None:
        self.story.append(f"acked {chunk.topic}")

    def abandon(self, chunk: Chunk) -> None:
        self.story.append(f"abandoned {chunk.topic}")

    async def ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        await asyncio.sleep(0)
        return {tp: self.known_ends.get(tp.topic, 0) for tp in partitions}

    def set_flow(self, topic: str, partition: int, *, paused: bool) -> None:
        self.story.append(f"{'paused' if paused else 'resumed'} {topic}")


async def story_of(script: Script, *chunks: Chunk, starts: Mapping[str, int] | None = None) -> list[str]:
    """Run a lane over *chunks* until it has nothing it may do, and return what happened."""
    lane = Lane(0, script, INPUTS, script, starts or {})
    running = asyncio.create_task(lane.run())
    for each in chunks:
        lane.put(each)
    for _ in range(100):
        await asyncio.sleep(0)
    lane.close()
    await running
    return script.story


async def test_effects_come_in_one_order() -> None:
    """Outputs are acknowledged before state is saved, state before the chunk is acked."""
    story = await story_of(Script(), chunk("reports", 0))

    assert story == ["reports 0", "sent out", "saved {'reports': 1}", "acked reports"]


async def test_a_command_waits_for_reports_that_were_there_before_it() -> None:
    """A command chunk is applied only when reports are read as far as they reached when it arrived."""
    script = Script()
    script.known_ends = {"reports": 2}

    story = await story_of(script, chunk("commands", 0), chunk("reports", 0, 1))

    assert [line for line in story if line.split()[0] in ("reports", "commands")] == [
        "reports 0",
        "reports 1",
        "commands 0",
    ]


async def test_a_tick_waits_for_all_it_was_told_of() -> None:
    """Time moves only when every input is read to the ends that the tick carries."""
    story = await story_of(Script(), tick_chunk(0, reports=1, commands=1), chunk("reports", 0), chunk("commands", 0))

    assert [line for line in story if line == "tick" or line[-1].isdigit()] == ["reports 0", "commands 0", "tick"]


async def test_a_tick_that_may_goes_before_what_came_after_it() -> None:
    """It does not wait for more than it was told of, though that is there too."""
    script = Script()
    script.known_ends = {"reports": 1}
    story = await story_of(script, chunk("reports", 0), chunk("commands", 0), tick_chunk(0, reports=1, commands=0))

    assert [line for line in story if line in {"reports 0", "commands 0", "tick"}] == [
        "reports 0",
        "tick",
        "commands 0",
    ]


async def test_a_tick_that_waits_in_vain_is_abandoned_not_acked() -> None:
    """At a rebalance, chunks that never became ready are let go uncommitted."""
    assert await story_of(Script(), tick_chunk(0, reports=5)) == ["abandoned ticks"]


async def test_committed_offsets_count_as_read() -> None:
    """After a restart nothing has to be read again for a tick to take effect."""
    assert "tick" in await story_of(Script(), tick_chunk(7, reports=5), starts={"reports": 5})


async def test_chunks_that_wait_together_are_applied_as_one() -> None:
    """One write for all that has arrived meanwhile; each chunk is acked."""
    story = await story_of(Script(), chunk("reports", 0), chunk("reports", 1, 2))

    assert story == [
        "reports 0",
        "reports 1",
        "reports 2",
        "sent out,out,out",
        "saved {'reports': 3}",
        "acked reports",
        "acked reports",
    ]


async def test_chunks_of_an_older_generation_are_abandoned() -> None:
    """A chunk queued before a rebalance is neither applied nor acked."""
    script = Script()
    script.current = False

    assert await story_of(script, chunk("reports", 0)) == ["abandoned reports"]


async def test_a_bad_record_becomes_a_dead_letter_and_stops_nothing() -> None:
    """The records around it are applied, and the chunk is acked."""
    script = Script()
    script.bad = {1}

    story = await story_of(script, chunk("reports", 0, 1, 2))

    assert story[:3] == ["reports 0", "reports 2", "sent out,dead.letters.v1,out"]
    assert story[-1] == "acked reports"


async def test_a_bad_deploy_stops_its_input_and_nothing_else() -> None:
    """Too many bad records: the rest is neither drained nor acked; commands and time go on without it."""
    script = Script()
    script.bad = set(range(500))

    story = await story_of(
        script, chunk("reports", *range(150)), chunk("reports", 150), tick_chunk(0, reports=151), chunk("commands", 500)
    )

    assert story[0] == "paused reports"
    assert story[1] == "sent " + ",".join(["dead.letters.v1"] * (MOST + 1))
    assert story[2] == f"saved {{'reports': {MOST + 1}}}"
    assert "tick" in story
    assert "commands 500" in story
    assert [line for line in story if line.endswith("reports")][1:] == ["abandoned reports", "abandoned reports"]


async def test_a_lane_that_lost_its_partition_while_it_thought_writes_nothing() -> None:
    """A worker that was frozen between step and effects drops both, and its lane ends."""
    script = Script()
    script.is_member = False

    story = await story_of(script, chunk("reports", 0), chunk("reports", 1))

    assert story == ["reports 0", "reports 1", "abandoned reports", "abandoned reports"]


async def test_records_below_the_saved_position_are_skipped() -> None:
    """A chunk replayed after a crash is applied from where state was saved."""
    script = Script()
    lane = Lane(0, script, INPUTS, script, {})
    lane.load(positions(reports=2), {"reports": 3})
    running = asyncio.create_task(lane.run())

    lane.put(chunk("reports", 0, 1, 2))
    for _ in range(20):
        await asyncio.sleep(0)
    lane.close()
    await running

    assert [line for line in script.story if line.startswith("reports")] == ["reports 2"]


def test_an_input_made_anew_is_noticed() -> None:
    """An input that ends before the saved position stops the worker with the topic's name."""
    script = Script()
    lane = Lane(0, script, INPUTS, script, {})

    with pytest.raises(SetupError, match="reports"):
        lane.load(positions(reports=9), {"reports": 3})


async def test_too_many_waiting_chunks_pause_their_input() -> None:
    """A lane that cannot go on stops the fetching of that input, and lets it go on when the queue has drained."""
    script = Script()
    script.known_ends = {"reports": 1}

    story = await story_of(script, chunk("commands", *range(PAUSE_AT)), chunk("reports", 0))

    assert story[0] == "paused commands"
    assert "resumed commands" in story
