"""What a bench stands on: a broker of its own, topics, contenders as processes that report progress.

Times are the wall clock's, which the contenders, the stage and the broker on this one
machine share; CPU is read from outside (`psutil`) at the moment a line arrives, so it
holds every thread of a process and nothing of its start.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import psutil
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec import Struct

from infra.clock import monotonic_s
from infra.kafka import consumer
from infra.local.ports import free_port
from infra.settings import Settings
from schemas.codec import Headers
from schemas.errors import UnavailableError
from schemas.topics import Cleanup, Topic, config
from tests.conftest import ROOT, environment, running_broker

PATIENCE_S = 60.0  # for one word of a contender
_STOP_S = 10.0
_PACE_S = 0.001  # a paced producer wakes this often


class Moment(Struct, frozen=True):
    """A line that a contender said, and the CPU seconds spent by then."""

    at_ms: float
    fields: dict[str, Any]
    own_cpu_s: float
    broker_cpu_s: float


def topic(name: str, cleanup: Cleanup = Cleanup.DELETE) -> Topic:
    """Return a topic of the bench's own, configured as the product's are."""
    return Topic(name=name, kind=None, key="grid_id", writer="bench", zh="", en="", cleanup=cleanup)


class Contender:
    """A running contender."""

    def __init__(self, child: "subprocess.Popen[str]", broker: psutil.Process, log: Path) -> None:
        self.child, self._broker, self._log = child, broker, log
        self._process = psutil.Process(child.pid)
        self._said: queue.Queue[tuple[str, Moment] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.child.stdout or ():
            # Faust and quixstreams print words of their own, some of them without ending the line.
            _, start, rest = line.partition('{"event"')
            if not start:
                continue
            said = json.loads(start + rest)
            moment = Moment(said.pop("at_ms"), said, cpu_s(self._process), cpu_s(self._broker))
            self._said.put((said.pop("event"), moment))
        self._said.put(None)

    def await_said(self, event: str, timeout_s: float = PATIENCE_S) -> Moment:
        """Return the next moment at which the contender says *event*.

        Raises:
            UnavailableError: it ended, or *timeout_s* passed without a word.
        """
        while True:
            try:
                said = self._said.get(timeout=timeout_s)
            except queue.Empty:
                raise UnavailableError("contender", f"said nothing for {timeout_s} s: {self.last_words()}") from None
            if said is None:
                raise UnavailableError("contender", f"ended: {self.last_words()}")
            if said[0] == event:
                return said[1]

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used."""
        return cpu_s(self._process)

    def last_words(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(errors="replace")[-2000:]


class Stage:
    """A broker with the product's topics, and the contenders on it."""

    def __init__(self, settings: Settings, broker_pid: int) -> None:
        self.settings, self.broker = settings, psutil.Process(broker_pid)
        self._admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 2})

    def create(self, *topics: Topic) -> None:
        """Create *topics*."""
        wanted = [NewTopic(t.name, self.settings.partitions, 1, config=config(t)) for t in topics]
        for created in self._admin.create_topics(wanted).values():
            created.result(30)

    def fill(
        self,
        name: str,
        records: int,
        record: Callable[[int], tuple[bytes, bytes]],
        *,
        per_s: float | None = None,
        headers: Callable[[int], Headers] | None = None,
    ) -> None:
        """Write *records* to topic *name* in lz4 batches, *per_s* a second or as fast as may be.

        *record* makes the key and value of the n-th, *headers* its headers; without it there are none.
        """
        producer = Producer(
            {
                "bootstrap.servers": self.settings.kafka,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
                "log_level": 2,
            }
        )
        start_s = monotonic_s()
        for n in range(records):
            while per_s and monotonic_s() < start_s + n / per_s:
                sleep(_PACE_S)
            key, value = record(n)
            while True:
                try:
                    producer.produce(name, value, key, headers=headers(n) if headers else None)
                    break
                except BufferError:
                    producer.poll(0.05)
            if n % 10_000 == 0:
                producer.poll(0)
        if producer.flush(60):
            raise UnavailableError("kafka", f"{name} could not be filled")

    def written(self, name: str) -> int:
        """Return how many records were ever written to topic *name*, compacted ones included."""
        with closing(consumer(self.settings, "bench-stage")) as reader:
            ends = [reader.get_watermark_offsets(TopicPartition(name, p))[1] for p in range(self.settings.partitions)]
        return sum(ends)

    @contextmanager
    def contender(
        self, module: str, *arguments: str, python: Path = Path(sys.executable), worker_id: str | None = None
    ) -> Iterator[Contender]:
        """Run `python -m tests.bench.contenders.<module>` until the block ends; then it is killed."""
        settings = self.settings.model_copy(update={"worker_id": worker_id or self.settings.worker_id})
        log = self.settings.data_dir / f"{module}.log"
        command: Sequence[str] = (str(python), "-m", f"tests.bench.contenders.{module}", *arguments)
        with log.open("ab") as err:
            child = subprocess.Popen(
                command, env=environment(settings), cwd=ROOT, stdout=subprocess.PIPE, stderr=err, text=True
            )
        try:
            yield Contender(child, self.broker, log)
        finally:
            child.kill()
            child.wait(_STOP_S)


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that *process* has used; 0 when it has gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@contextmanager
def stage() -> Iterator[Stage]:
    """Open a stage in a directory that goes when the block ends."""
    with TemporaryDirectory(prefix="gridwatch-bench-") as directory:
        settings = Settings(
            data_dir=Path(directory),
            jars_dir=ROOT / "data" / "jars",
            kafka=f"127.0.0.1:{free_port(2)}",
            session_timeout_s=6.0,
        )
        with running_broker(settings) as child:
            yield Stage(settings, child.pid)
