"""The product's own worker on a stage, and what it left on its topics."""

from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

import msgspec
from msgspec import Struct

from infra.clock import utc_now
from infra.kafka import read_to_end
from infra.reference import publish
from infra.settings import Settings
from pipelines.stream.state import POSITIONS
from schemas.topics import STATE_CHANGELOG, Topic
from tests.bench.stage import Stage
from tests.builders import DISTRICT, with_policy
from tests.conftest import eventually, process


class Kept(Struct, frozen=True):
    """One record of a changelog, as `Restored` reads it."""

    key: bytes | None
    value: bytes | None


class Step(Struct, frozen=True):
    """How many records of an input, of all its partitions, state reflected when the broker had it."""

    at_ms: int
    total: int


def calm(stage: Stage) -> Settings:
    """Return settings whose policy has clocks too slow to ring."""
    text = (DISTRICT / "policy.toml").read_text(encoding="utf-8").replace("000", "000000")
    return with_policy(stage.settings, stage.settings.data_dir / "district", text)


@contextmanager
def case_engine(settings: Settings) -> Iterator["Popen[bytes]"]:
    """Run a worker of the case engine; the block starts when its lanes are open."""
    publish(settings, utc_now())
    log = settings.data_dir / "worker.log"
    before = log.read_text().count("lanes_open") if log.exists() else 0
    with process("pipelines", settings, log=log) as child:
        eventually(lambda: log.read_text().count("lanes_open") > before, within_s=60, what="lanes open")
        yield child


def steps(settings: Settings, topic: str, changelog: Topic = STATE_CHANGELOG) -> list[Step]:
    """Return how an engine got through *topic*, step by step, as its changelog tells."""
    found = []
    for message in read_to_end(settings, changelog):
        if message.key() == POSITIONS:
            reached = msgspec.json.decode(message.value() or b"{}").get(topic, 0)
            found.append((message.timestamp()[1], message.partition() or 0, reached))
    positions: dict[int, int] = {}
    way = [Step(0, 0)]
    for at_ms, partition, reached in sorted(found):
        positions[partition] = max(reached, positions.get(partition, 0))
        way.append(Step(at_ms, sum(positions.values())))
    return way


def rate(way: list[Step], *, after: int) -> float:
    """Return records/s from the first step beyond *after* records to the last; the first one's do not count."""
    way = [step for step in way if step.total > after]
    last = next(step for step in way if step.total == way[-1].total)
    return (last.total - way[0].total) * 1000 / (last.at_ms - way[0].at_ms)
