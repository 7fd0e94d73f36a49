"""What the engine changes in Faust, each change by the bug that it answers (docs/stream-engine.md has the list)."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import codec
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record._crecords import default_records
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.queues import FlowControlQueue

from infra.aiokafka_speed import PlainRecords
from infra.clock import boot_s
from infra.settings import Settings
from pipelines import process
from pipelines.stream import lanes
from pipelines.stream.app import StreamApp, create_stream_app
from pipelines.stream.chunks import ChunkConsumer, ChunkConsumerThread, ChunkSchema
from pipelines.stream.program import Inputs, Settled
from schemas.errors import EXIT_CRASH, EXIT_SETUP, SetupError

INPUTS = Inputs(openers=("reports",), followers=("commands",), ticks="ticks")
REPORTS, COMMANDS, TICKS = (TP(topic, 0) for topic in INPUTS.all)
CHANGELOG = TP("engine-state-changelog", 0)
HERE = {REPORTS, COMMANDS, TICKS, CHANGELOG}


class Ended(BaseException):
    """The process ended; its argument is the exit code."""


class Idle:
    """A program that does nothing."""

    def load(self, state: Mapping[bytes, bytes]) -> None: ...

    def settle(self) -> Settled:
        return Settled([], [])


@pytest.fixture(autouse=True)
def _ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr("os._exit", end)


@pytest.fixture
async def app(monkeypatch: pytest.MonkeyPatch) -> StreamApp:
    """An app that was given every partition, connected to nothing."""
    settings = Settings(partitions=1)
    made = create_stream_app("engine", settings, inputs=INPUTS, make_program=lambda _: Idle())  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(made.consumer, "assignment", lambda: HERE)
    return made


@pytest.fixture
def consumer(app: StreamApp) -> Any:
    return app.consumer


@pytest.fixture
def seeks(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[TP, int]]:
    """Where the consumer was sought to, in order."""
    found: list[tuple[TP, int]] = []

    async def seek(tp: TP, offset: int) -> None:
        found.append((tp, offset))

    monkeypatch.setattr(consumer, "_seek", seek)
    return found


def fetched(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=o, timestamp=0, timestamp_type=1, key=b"k", value=b"v") for o in offsets]


def written(*offsets: int) -> list[Any]:
    """Return records of a changelog, each of a key of its own."""
    return [SimpleNamespace(offset=o, key=str(o).encode(), value=bytes(8)) for o in offsets]


async def chunks(consumer: Any, monkeypatch: pytest.MonkeyPatch, records: dict[TP, list[Any]]) -> list[Any]:
    """Return what the consumer delivers of one fetch."""

    async def wait_next(_: float) -> Any:
        return records, set(records)

    monkeypatch.setattr(consumer, "_wait_next_records", wait_next)
    monkeypatch.setattr(consumer, "_get_active_partitions", lambda: set(records))
    return [(tp, [record.offset for record in message.value]) async for tp, message in consumer.getmany(1.0)]


async def test_another_faust_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overrides are of the insides of one version."""
    monkeypatch.setattr(faust, "__version__", "0.15.4")

    with pytest.raises(SetupError, match="0\\.15\\.4"):
        create_stream_app("engine", Settings(), inputs=INPUTS, make_program=lambda _: Idle())  # type: ignore[arg-type,return-value]


async def test_every_send_is_acknowledged_by_all_and_never_doubled_by_a_retry(app: StreamApp) -> None:
    """Faust asks for this in exactly-once mode alone."""
    producer: Any = app.producer

    assert producer._settings_extra() == {"acks": "all", "enable_idempotence": True}


async def test_nothing_is_committed_past_a_chunk_under_way(consumer: Any) -> None:
    """Faust commits past messages in flight."""
    consumer._delivered[REPORTS] = deque([4, 9, 12])

    consumer._acked_index[REPORTS].update({9, 12})
    assert consumer._new_offset(REPORTS) is None
    consumer._acked_index[REPORTS].add(4)
    assert consumer._new_offset(REPORTS) == 13


async def test_a_gap_is_none_of_the_watermark_s_business(consumer: Any) -> None:
    """Faust fills it one offset too far, and commits move one gap at a time."""
    await consumer._add_gap(REPORTS, 0, 5)

    assert consumer._new_offset(REPORTS) is None
    assert not consumer._acked_index[REPORTS]


async def test_chunks_continue_one_another(
    consumer: Any, seeks: list[tuple[TP, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap is fetched again, and believed the second time; what was delivered is not delivered twice."""
    assert await chunks(consumer, monkeypatch, {REPORTS: fetched(0, 1)}) == [(REPORTS, [0, 1])]
    assert await chunks(consumer, monkeypatch, {REPORTS: fetched(4, 5)}) == []
    assert seeks == [(REPORTS, 2)]
    assert await chunks(consumer, monkeypatch, {REPORTS: fetched(4, 5)}) == [(REPORTS, [4, 5])]
    assert await chunks(consumer, monkeypatch, {REPORTS: fetched(5, 6)}) == [(REPORTS, [6])]


async def test_what_was_fetched_while_flow_stood_still_is_fetched_again(
    consumer: Any, seeks: list[tuple[TP, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust seeks at once, beside the seek of the recovery under way: lanes opened twice."""
    consumer._expected[REPORTS] = 3
    await _interrupted(consumer, monkeypatch, {REPORTS: fetched(3, 4)})
    assert seeks == []

    consumer.resume_flow()
    await chunks(consumer, monkeypatch, {REPORTS: fetched(3, 4)})
    assert seeks == [(REPORTS, 3)]


async def test_what_was_asked_for_before_a_rebalance_is_fetched_again(
    app: StreamApp, consumer: Any, seeks: list[tuple[TP, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for at a position of the last generation."""

    def rebalance() -> None:
        app.consumer_generation_id += 1

    await _interrupted(consumer, monkeypatch, {REPORTS: fetched(0, 1)}, by=rebalance)
    await chunks(consumer, monkeypatch, {REPORTS: fetched(0, 1)})

    assert seeks == [(REPORTS, 0)]


async def _interrupted(
    consumer: Any, monkeypatch: pytest.MonkeyPatch, records: dict[TP, list[Any]], by: Any = None
) -> None:
    """Let a fetch come back with *records* when flow has been stopped, or *by* something else."""

    async def wait_next(_: float) -> Any:
        (by or consumer.stop_flow)()
        return records, set(records)

    monkeypatch.setattr(consumer, "_wait_next_records", wait_next)
    assert [tp async for tp, _ in consumer.getmany(1.0)] == []


async def test_a_partition_without_a_commit_is_read_from_its_beginning(
    app: StreamApp, consumer: Any, seeks: list[tuple[TP, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seek by aiokafka goes to commits alone: what was read before, and let go of, would wait for the next record."""
    opened_at: list[Any] = []

    async def committed() -> dict[TP, int | None]:
        assert await chunks(consumer, monkeypatch, {TICKS: fetched(2)}) == []  # fetched while the seek is under way
        return {REPORTS: 7, COMMANDS: None, TICKS: 2}

    async def opened(expected: Any) -> None:
        opened_at.append(dict(expected))

    monkeypatch.setattr(consumer, "seek_to_committed", committed)
    monkeypatch.setattr(app, "on_seeked", opened)
    await consumer.perform_seek()
    assert opened_at == [{REPORTS: 7, TICKS: 2}]

    both = {COMMANDS: fetched(0), TICKS: fetched(2)}
    assert await chunks(consumer, monkeypatch, both) == [(COMMANDS, [0]), (TICKS, [2])]
    assert sorted(seeks) == [(COMMANDS, 0), (TICKS, 2)]


async def test_a_changelog_is_taken_in_pieces_and_its_end_wakes_the_recovery(
    app: StreamApp, consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust takes 60 µs a record, from a queue that outlives a rebalance."""
    recovery = app.tables.recovery
    recovery.active_highwaters[CHANGELOG] = 3
    waiting = asyncio.create_task(recovery.signal_recovery_end.wait())
    await asyncio.sleep(0)

    assert await chunks(consumer, monkeypatch, {CHANGELOG: written(0, 1, 2)}) == []
    await asyncio.sleep(0)
    assert not waiting.done()
    await chunks(consumer, monkeypatch, {CHANGELOG: written(3)})
    await asyncio.wait_for(waiting, 5)
    assert app.lanes.restored[0].content() == {b"0": b"", b"1": b"", b"2": b"", b"3": b""}
    assert not recovery.signal_recovery_end.is_set()  # or the next recovery would end as it begins


async def test_a_piece_of_the_changelog_that_comes_while_flow_stands_still_is_read_again(
    consumer: Any, seeks: list[tuple[TP, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch may outlive the rebalance it was under way in: what it brings, nobody else does."""
    await chunks(consumer, monkeypatch, {CHANGELOG: written(0, 1)})
    await _interrupted(consumer, monkeypatch, {CHANGELOG: written(2, 3)})
    consumer.resume_flow()
    await chunks(consumer, monkeypatch, {CHANGELOG: written(2, 3)})

    assert seeks == [(CHANGELOG, 2)]


async def test_a_new_assignment_forgets_what_was_read_for_the_last(
    app: StreamApp, consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next recovery would start where that one ended, with half of the state."""

    async def stock(*_: Any) -> None: ...

    await chunks(consumer, monkeypatch, {CHANGELOG: written(0, 1)})
    monkeypatch.setattr(driver.Consumer, "on_partitions_assigned", stock)
    await consumer.on_partitions_assigned(HERE, 2)

    assert app.tables.recovery.active_offsets == {}
    assert app.lanes.restored[0].content() == {}


async def test_two_seeks_at_once_open_one_lane(app: StreamApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second lane of a partition would share its state, and outlive `close`."""
    _answer(app, monkeypatch)
    await app.lanes.recovered()
    await asyncio.gather(app.lanes.open({}), app.lanes.open({}))

    assert len(app.lanes._tasks) == 1
    await asyncio.wait_for(app.lanes.close(), 5)


async def test_a_recovery_that_ends_when_its_partitions_are_gone_opens_no_lane(
    app: StreamApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between "revoked" and "assigned" the generation is still the old one: the lane would start with no state."""
    _answer(app, monkeypatch)
    await app.lanes.close()
    await app.lanes.recovered()
    await app.lanes.open({})
    assert app.lanes._lanes == {}

    app.lanes.assigned()
    await app.lanes.open({})
    assert app.lanes._lanes == {}
    await app.lanes.recovered()
    await app.lanes.open({})
    assert list(app.lanes._lanes) == [0]
    await app.lanes.close()


async def test_an_opening_that_is_cancelled_leaves_its_connection_to_the_next(
    app: StreamApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that was never started answers nothing: the next to ask would end the process."""
    connected = asyncio.Event()
    made = _connections(monkeypatch, lambda _: connected.wait())
    first = asyncio.create_task(app.lanes.ends([REPORTS]))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(app.lanes.ends([REPORTS]))
    await asyncio.sleep(0)
    connected.set()

    assert await second == {REPORTS: 5}
    assert first.cancelled()
    assert len(made) == 1


@pytest.mark.parametrize("moves", [True, False])
async def test_partitions_without_a_lane_end_the_process_when_nothing_is_read_of_their_state(
    app: StreamApp, consumer: Any, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    """Faust ends its recovery for good when one of its questions takes the broker 20 s."""
    now_s = 0.0
    monkeypatch.setattr(lanes, "monotonic_s", lambda: now_s)
    consumer.member_at_s = boot_s() + 1000
    try:
        for second in range(100):
            now_s, read = float(second), second if moves else 7
            app.tables.recovery.active_offsets[CHANGELOG] = read
            await app.lanes.tick()
    except Ended:
        assert not moves
    else:
        assert moves


async def test_time_is_kept_before_the_first_recovery(app: StreamApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust starts an app's tasks after it: a first recovery that dies would be seen by nobody."""
    kept: list[Any] = []

    async def stock(*_: Any) -> None: ...

    monkeypatch.setattr(faust.App, "on_start", stock)
    monkeypatch.setattr(app, "add_future", kept.append)
    await app.on_start()

    [time] = kept
    assert time.__name__ == "keep_time"
    time.close()
    assert not app.lanes.holds_lease  # and until the group has answered once, nothing is done in it


async def test_a_standstill_is_counted_from_when_lanes_are_open(app: StreamApp) -> None:
    """What waited while another worker had the partition has not stood still here."""
    before = app.lanes._watch
    await app.lanes.close()

    assert app.lanes._watch is not before


async def test_a_connection_that_fails_with_nobody_waiting_is_made_again(
    app: StreamApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error would end a worker whose broker is well again."""
    away = asyncio.Event()

    async def connect(attempt: int) -> None:
        if attempt == 1:
            await away.wait()
            raise ConnectionError

    _connections(monkeypatch, connect)
    first = asyncio.create_task(app.lanes.ends([REPORTS]))
    await asyncio.sleep(0)
    connecting = app.lanes._asker
    first.cancel()
    away.set()
    assert connecting is not None
    await asyncio.wait([connecting])

    assert isinstance(connecting.exception(), ConnectionError)
    assert await app.lanes.ends([REPORTS]) == {REPORTS: 5}


async def test_an_outage_is_no_standstill(app: StreamApp, consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves without the broker; a worker that comes back with it has its time."""
    now_s = 0.0
    monkeypatch.setattr(lanes, "monotonic_s", lambda: now_s)
    for second in range(100):
        now_s = float(second)
        consumer.member_at_s = boot_s() + (-1000 if 10 < second < 90 else 1000)
        await app.lanes.tick()


async def test_partitions_that_leave_while_ends_are_asked_open_no_lane(
    app: StreamApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane would write with another worker beside it."""
    _answer(app, monkeypatch)
    await app.lanes.recovered()
    opening = asyncio.create_task(app.lanes.open({}))
    await asyncio.sleep(0)
    await app.lanes.close()
    await opening

    assert app.lanes._lanes == {}


def _connections(monkeypatch: pytest.MonkeyPatch, connect: Callable[[int], Awaitable[object]]) -> list[Any]:
    """Let connections for ends be made by *connect*, told which one it is; return those made so far."""
    made: list[Any] = []

    class Asker:
        def __init__(self, **_: Any) -> None:
            made.append(self)
            self._is_started = False

        async def start(self) -> None:
            await connect(len(made))
            self._is_started = True

        async def end_offsets(self, partitions: list[TP]) -> dict[TP, int]:
            assert self._is_started
            return dict.fromkeys(partitions, 5)

    monkeypatch.setattr(lanes, "AIOKafkaConsumer", Asker)
    return made


def _answer(app: StreamApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def offsets(*_: Any) -> dict[TP, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(HERE, 0)

    monkeypatch.setattr(app.lanes, "ends", offsets)
    monkeypatch.setattr(app.consumer, "earliest_offsets", offsets)


async def test_lanes_are_closed_before_faust_waits_for_them(app: StreamApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for ever for chunks that wait for others."""
    story: list[str] = []

    async def waits(*_: Any) -> None:
        story.append("waits")

    async def closes() -> None:
        story.append("closed")

    monkeypatch.setattr(faust.App, "_consumer_wait_empty", waits)
    monkeypatch.setattr(app.lanes, "close", closes)
    await app._consumer_wait_empty(None, None)

    assert story == ["closed", "waits"]


async def test_resume_keeps_what_is_queued(app: StreamApp) -> None:
    """Faust clears queues at each call, and recovery calls twice."""
    queue = FlowControlQueue(maxsize=2, flow_control=app.flow_control, clear_on_resume=True)
    app.flow_control.resume()
    queue.put_nowait("live")
    app.flow_control.resume()

    assert queue.qsize() == 1


async def test_a_lease_ends_without_an_answered_heartbeat(consumer: ChunkConsumer) -> None:
    """Long before the group gives the partitions to another."""
    session_s = float(consumer.app.conf.broker_session_timeout)
    consumer.member_at_s = boot_s() - 0.5 * session_s
    assert consumer.holds_lease
    consumer.member_at_s = boot_s() - 0.7 * session_s
    assert not consumer.holds_lease


async def test_a_lease_begins_when_a_heartbeat_that_is_answered_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told when that was by aiokafka; an answer of a group that no longer knows us is none."""

    async def connect(_: Any) -> None: ...

    async def coordinate() -> None: ...

    async def heartbeat() -> bool:
        await asyncio.sleep(0)
        return is_member

    consumer = SimpleNamespace(member_at_s=0.0)
    coordinator = SimpleNamespace(_do_heartbeat=heartbeat, _coordination_task=asyncio.create_task(coordinate()))
    thread: Any = object.__new__(ChunkConsumerThread)
    thread.consumer = consumer
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_start", connect)
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: SimpleNamespace(_coordinator=coordinator))
    await thread.on_start()

    is_member = False
    await coordinator._do_heartbeat()
    assert consumer.member_at_s == 0.0
    is_member, before_s = True, boot_s()
    await coordinator._do_heartbeat()
    assert before_s <= consumer.member_at_s <= boot_s()


async def test_a_fetch_waits_less_while_records_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust hard-codes 1.5 s; a partition that was read to its end waits for the fetch under way."""
    found: dict[TP, list[Any]] = {}

    async def stock(*_: Any, **__: Any) -> Any:
        return found

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", stock)
    thread: Any = object.__new__(ChunkConsumerThread)
    kafka = SimpleNamespace(_fetcher=SimpleNamespace(_fetch_max_wait_ms=1500))
    await thread._fetch_records(kafka)
    idle_ms = kafka._fetcher._fetch_max_wait_ms
    found[REPORTS] = fetched(0)
    await thread._fetch_records(kafka)

    assert kafka._fetcher._fetch_max_wait_ms < idle_ms < 1500


def test_records_are_read_as_the_parser_leaves_them_from_where_the_fetch_began() -> None:
    """A batch brings what came before the offset asked for too; the next fetch goes on after its last record."""
    batch = BatchBuilder(1 << 16, DefaultRecordBatch.CODEC_LZ4)
    for n in range(4):
        batch.append(timestamp=0, key=b"k", value=str(n).encode(), headers=[])
    found = PlainRecords(REPORTS, MemoryRecords(bytes(batch._build())), [], 2, None, None, True, 0)

    assert [(record.offset, record.value) for record in found] == [(2, b"2"), (3, b"3")]
    assert found.next_fetch_offset == 4


def test_batches_are_compressed_lightly() -> None:
    """Level 9, which aiokafka asks for, takes 15 times as long for a tenth less."""
    text = json.dumps(list(range(20_000))).encode()
    light, heavy = (codec.lz4_encode(text, level=level) for level in (1, 9))

    assert light != heavy
    assert default_records.lz4_encode(text) == light


async def test_an_agent_takes_a_list_of_records_as_it_is(app: StreamApp) -> None:
    """Faust would decode each record's key and value."""
    records = fetched(0, 1)
    message = SimpleNamespace(value=records, headers=[])
    event = await ChunkSchema().compile(app)(message)

    assert event.value is records


async def test_ticks_come_on_full_seconds_whatever_they_cost(app: StreamApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust's timer would sleep a second after each."""
    now_s, slept = 100.25, list[float]()

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds

    async def tick() -> None:
        nonlocal now_s
        now_s += 0.25
        if len(slept) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(lanes, "monotonic_s", lambda: now_s)
    monkeypatch.setattr(lanes.asyncio, "sleep", sleep)
    monkeypatch.setattr(app.lanes, "tick", tick)
    with pytest.raises(asyncio.CancelledError):
        await app.lanes.keep_time()
    assert slept == [0.75, 0.75, 0.75]


async def test_an_agent_that_fails_ends_the_process(app: StreamApp) -> None:
    """Faust would start it again and skip its chunk."""
    with pytest.raises(Ended) as ended:
        await app._on_agent_error(SimpleNamespace(name="feed-reports"), ValueError("a bug"))

    assert ended.value.args == (EXIT_CRASH,)


@pytest.mark.parametrize(("error", "code"), [(ValueError("a bug"), EXIT_CRASH), (SetupError("x", "is"), EXIT_SETUP)])
async def test_an_error_in_a_lane_ends_the_process(error: Exception, code: int) -> None:
    """Nothing is acked after it; what a restart can't mend has an exit code of its own."""

    async def work() -> None:
        raise error

    with pytest.raises(Ended) as ended:
        await process.or_die(work())
    assert ended.value.args == (code,)


async def test_the_process_ends_with_its_group_coordination() -> None:
    """The task may fail for good and unseen, in aiokafka; a cancelled one is a stop."""
    task: asyncio.Future[None] = asyncio.Future()
    task.cancel()
    process.die_with(task)

    task = asyncio.Future()
    task.set_exception(ValueError("for good"))
    with pytest.raises(Ended):
        process.die_with(task)


def test_commits_that_stand_still_end_the_process() -> None:
    """Only while something applied waits for them, and not while they move."""
    watch = process.StandstillWatch()
    for second in range(100):
        watch.check("moves", second, is_due=True, now_s=float(second))
        watch.check("has nothing to do", 5, is_due=False, now_s=float(second))
    watch.check("has nothing to do", 5, is_due=True, now_s=200.0)  # from now on it has
    watch.check("stands", 0, is_due=True, now_s=0.0)
    watch.check("stands", 0, is_due=True, now_s=process.STANDSTILL_S)

    with pytest.raises(Ended):
        watch.check("stands", 0, is_due=True, now_s=process.STANDSTILL_S + 1)
