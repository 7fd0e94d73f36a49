"""The Faust application of the engine: settings that keep promises, and the seams to the lanes."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import faust
from faust.types import TP

from infra.settings import Settings
from pipelines.process import die, or_die
from pipelines.stream.chunks import ChunkSchema, ChunkTransport, ResumeOnce
from pipelines.stream.lanes import Lanes
from pipelines.stream.program import Inputs, Program
from schemas.errors import SetupError

FAUST_VERSION = "0.15.3"  # what `chunks` overrides; another version needs its overrides read again


class StreamApp(faust.App):
    """A Faust app whose inputs arrive in chunks and are applied in lanes."""

    lanes: Lanes

    def _new_transport(self) -> ChunkTransport:
        # No `loop=`: it would pin a loop that is not the worker's.
        return ChunkTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> ChunkTransport:
        return ChunkTransport(self.conf.broker_producer, self)

    @cached_property
    def flow_control(self) -> ResumeOnce:
        """Flow control that clears queues only when flow was suspended (see `ResumeOnce`)."""
        return ResumeOnce(loop=self.loop)

    async def on_start(self) -> None:
        """Begin to keep time. Faust starts tasks after the first recovery, which then nobody would watch."""
        await super().on_start()
        self.add_future(self.lanes.keep_time())

    async def on_seeked(self, expected: Mapping[TP, int]) -> None:
        """Open lanes once state is recovered and inputs are sought to their committed offsets."""
        await or_die(self.lanes.open(expected))

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        """Close the lanes before Faust waits for unacked messages: chunks that wait for others never end."""
        await self.lanes.close()
        await super()._consumer_wait_empty(consumer, logger)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        """End the process. Faust would restart the agent and commit past the chunk it lost."""
        die("agent_died", agent=agent.name, exc_info=exc)


def create_stream_app(
    app_id: str, settings: Settings, *, inputs: Inputs, make_program: Callable[[int], Program]
) -> StreamApp:
    """Return an app that runs *make_program(p)* in one lane a partition; connects to nothing yet.

    Args:
        app_id: consumer group; the state's changelog is `<app_id>-state-changelog`.
        settings: where Kafka is, and this worker's static member id.
        inputs: what the lanes consume.
        make_program: builds the rules of one partition.

    Raises:
        SetupError: another Faust is installed than the one whose insides are overridden.
    """
    if faust.__version__ != FAUST_VERSION:
        raise SetupError("faust-streaming", f"is {faust.__version__}; we override the insides of {FAUST_VERSION}")
    app = StreamApp(
        app_id,
        broker=f"kafka://{settings.kafka}",
        store="memory://",
        datadir=str(settings.data_dir / "faust"),
        topic_partitions=settings.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_group_instance_id=settings.worker_id,
        consumer_max_fetch_size=4 << 20,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_request_timeout=max(20.0, settings.session_timeout_s * 2),
        broker_commit_interval=1.0,
        broker_commit_every=10**9,
        broker_max_poll_records=10_000,
        producer_linger=0.0,  # what belongs together is sent in one batch already
        producer_max_batch_size=512 << 10,
        producer_max_request_size=64 << 20,
        producer_request_timeout=30.0,
        producer_compression_type="lz4",
        web_enabled=False,
    )
    table = app.Table("state", key_type=bytes, value_type=bytes, partitions=settings.partitions)
    app.lanes = Lanes(app, table, inputs, make_program)
    table.on_recover(app.lanes.recovered)
    for topic in inputs.all:
        _feed(app, topic)
    return app


def _feed(app: StreamApp, topic: str) -> None:
    """Attach the agent that hands chunks of *topic* to the lanes."""

    # Named: Faust would derive the name from the module path, and moving a file would move state.
    @app.agent(app.topic(topic, schema=ChunkSchema(), maxsize=8), name=f"feed-{topic}")
    async def feed(stream: Any) -> None:
        async for event in stream.noack().events():
            app.lanes.put(event)
