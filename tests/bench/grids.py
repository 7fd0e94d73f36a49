"""`grids`: events/s of a per-grid aggregate, state kept, over 1,000 grids in 4 partitions."""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import Random
from statistics import median
from typing import Any, Self

import msgspec
from msgspec import Struct

from infra.kafka import read_to_end
from pipelines.stream.state import POSITIONS, Restored
from schemas.errors import UnavailableError
from schemas.topics import Cleanup
from tests.bench.environments import python_of
from tests.bench.fold import Cell, decode, fold
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Moment, Stage, topic
from tests.bench.worker import Kept, rate, steps
from tests.conftest import eventually

GRIDS = 1_000
INPUT = topic("bench.grids.v1")
GOALS = {
    "vs_faust": 60.0,
    "vs_quixstreams": 4.0,
    "vs_bytewax": 1.5,
    "vs_floor": 1.0,
    "two_workers_vs_one": 1.2,
    "cpu_one_vs_two": 0.87,  # two may need 1.15 times the CPU of one for the same events
}


class Contestant(Struct, frozen=True):
    """Who runs, and which share of the topic: slower ones read a part, for the rate is what is compared."""

    module: str
    share: float = 1.0
    peer: str | None = None  # the environment it needs


CONTESTANTS = {
    "ours": Contestant("grids"),
    "confluent": Contestant("floor"),
    "bytewax": Contestant("bytewax_peer", 0.3, "bytewax"),
    "quixstreams": Contestant("quixstreams_peer", 0.1, "quixstreams"),
    "faust": Contestant("stock_faust", 0.01),
}


class Run(Struct, frozen=True, kw_only=True):
    """One contestant's run."""

    rate: float  # events/s
    own_cpu_s: float  # per million events
    broker_cpu_s: float  # per million events
    is_exact: bool
    written: dict[str, int] = {}  # records, by kind of topic


class Settled(Struct, frozen=True):
    """What our changelog holds once it covers the whole input."""

    at_ms: float  # the broker's append time of the last record that was needed
    cells: dict[str, Cell]


def event(n: int, random: Random) -> tuple[bytes, bytes]:
    """Return key and value of the *n*-th event, about 250 bytes of JSON."""
    grid = b"610117%09d" % (n * 7919 % GRIDS)
    value = (
        b'{"event_id":"%032x","grid_id":"%b","camera_id":"cam-%04d","occurred_at":"2026-03-09T09:%02d:%02d.%03dZ",'
        b'"motion":0.%03d,"people":%d,"luma":117,"audio_db":-41.5,"kind":"activity","detail":"sub-stream"}'
        % (n, grid, n % 2_000, n // 60_000 % 60, n // 1_000 % 60, n % 1_000, n % 997, int(random.random() * 50))
    )
    return grid, value


class Oracle:
    """Every grid's readings, in the order of its partition, folded by a plain loop."""

    def __init__(self, readings: Mapping[str, Sequence[int]]) -> None:
        self._readings = readings

    @classmethod
    def of(cls, stage: Stage) -> Self:
        """Read the input with a plain consumer."""
        readings: defaultdict[str, array[int]] = defaultdict(lambda: array("H"))
        for message in read_to_end(stage.settings, INPUT):
            reading = decode(message.value() or b"")
            readings[reading.grid_id].append(reading.people)
        return cls(readings)

    def confirms(self, cells: dict[str, Cell], records: int) -> bool:
        """Tell whether *cells* are the fold of *records* records, each grid's first ones.

        A grid's records keep their order, so a contestant that stopped early is checked as strictly.
        """
        return sum(cell[0] for cell in cells.values()) == records and all(
            cell[:3] == fold(self._readings[grid][: cell[0]]) for grid, cell in cells.items()
        )


def compete(stage: Stage, name: str, oracle: Oracle, *, number: int, records: int) -> Run:
    """Let *name* read *records* records, time it and check what it computed.

    From the first batch through the aggregate to the last; ours until the changelog holds it all.
    """
    who, group = CONTESTANTS[name], f"bench-{name}-{number}"
    if name == "ours":
        stage.create(topic(f"{group}-state-changelog", Cleanup.COMPACT), topic(f"{group}-totals"))
    environment = {"python": python_of(who.peer)} if who.peer else {}
    with stage.contender(who.module, stage.settings.kafka, INPUT.name, group, str(records), **environment) as running:
        first, last = running.await_said("first"), running.await_said("last")
        if name == "confluent":
            return _run(first, last, is_exact=True)
        if name != "ours":
            cells = running.await_said("cells").fields["cells"]
            return _run(first, last, is_exact=oracle.confirms(cells, last.fields["records"]))
        settled: Any = eventually(lambda: _settled(stage, group, records), within_s=30, what="the changelog is whole")
    written = {kind: stage.written(f"{group}-{kind}") for kind in ("state-changelog", "totals")}
    last = msgspec.structs.replace(last, at_ms=settled.at_ms)
    return _run(first, last, is_exact=oracle.confirms(settled.cells, records), written=written)


def _settled(stage: Stage, group: str, records: int) -> Settled | None:
    """Return what the changelog of *group* holds, or None while it does not cover the input."""
    restored: defaultdict[int, Restored] = defaultdict(Restored)
    at_ms = 0
    for message in read_to_end(stage.settings, topic(f"{group}-state-changelog")):
        into, key = restored[message.partition() or 0], message.key()
        before = into.positions.get(INPUT.name)
        into.take([Kept(key, message.value())])  # type: ignore[list-item]  # what `Restored` reads of a record
        if key == POSITIONS and into.positions.get(INPUT.name) != before:
            at_ms = max(at_ms, message.timestamp()[1])
    if sum(of.positions.get(INPUT.name, 0) for of in restored.values()) != records:
        return None
    cells = {k.decode(): msgspec.json.decode(v) for of in restored.values() for k, v in of.content().items()}
    return Settled(at_ms, cells)


class Scale(Struct, frozen=True, kw_only=True):
    """What some workers did together: events/s of the second half, when all were under way."""

    rate: float
    cpu_s: float  # of all of them, per million events
    is_exact: bool


def scale(stage: Stage, oracle: Oracle, *, workers: int, number: int, records: int) -> Scale:
    """Let *workers* workers of one group share the topic."""
    group = f"bench-{workers}-{number}"
    changelog = topic(f"{group}-state-changelog", Cleanup.COMPACT)
    stage.create(changelog, topic(f"{group}-totals"))
    arguments = (stage.settings.kafka, INPUT.name, group, str(records))
    with ExitStack() as running:
        team = [
            running.enter_context(stage.contender("grids", *arguments, worker_id=f"worker-{n}")) for n in range(workers)
        ]
        started_s = [member.await_said("first").own_cpu_s for member in team]
        settled: Any = eventually(lambda: _settled(stage, group, records), within_s=60, what="the changelog is whole")
        cpu_s = sum(member.cpu_s() for member in team) - sum(started_s)
    way = steps(stage.settings, INPUT.name, changelog)
    return Scale(
        rate=rate(way, after=records // 2),
        cpu_s=cpu_s * 1_000_000 / records,
        is_exact=oracle.confirms(settled.cells, records),
    )


def _run(first: Moment, last: Moment, **more: Any) -> Run:
    counted = last.fields["records"] - first.fields["records"]
    return Run(
        rate=counted * 1000 / (last.at_ms - first.at_ms),
        own_cpu_s=(last.own_cpu_s - first.own_cpu_s) * 1_000_000 / counted,
        broker_cpu_s=(last.broker_cpu_s - first.broker_cpu_s) * 1_000_000 / counted,
        **more,
    )


def bench(stage: Stage, *, events: int, rounds: int) -> Report:
    """Run every contestant *rounds* times, taking turns, over one topic of *events* events."""
    random = Random(7)
    stage.create(INPUT)
    stage.fill(INPUT.name, events, lambda n: event(n, random))
    oracle = Oracle.of(stage)
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    teams: dict[int, list[Scale]] = {1: [], 2: []}
    left_out: dict[str, str] = {}
    for number in range(rounds):
        for name, who in CONTESTANTS.items():
            if name in left_out:
                continue
            try:
                run = compete(stage, name, oracle, number=number, records=int(events * who.share))
            except UnavailableError as error:
                if who.peer is None:
                    raise
                left_out[name] = str(error)
                note(f"{name} is left out: {error}")
                continue
            runs[name].append(run)
            note(f"{number + 1}/{rounds} {name:<12} {run.rate:>10,.0f} events/s, exact: {run.is_exact}")
        for workers, of in teams.items():
            of.append(scale(stage, oracle, workers=workers, number=number, records=events))
            note(f"{number + 1}/{rounds} {workers} worker(s)  {of[-1].rate:>10,.0f} events/s, exact: {of[-1].is_exact}")
    return _report(runs, teams, left_out)


def _report(runs: dict[str, list[Run]], teams: dict[int, list[Scale]], left_out: dict[str, str]) -> Report:
    rates = {name: rounded(median(run.rate for run in of)) for name, of in runs.items()}
    ours = rates.pop("ours")
    floor = {"confluent": rates.pop("confluent")}
    ratios = {f"vs_{name}": rounded(ours / rate) for name, rate in rates.items()}
    together = {workers: median(team.rate for team in of) for workers, of in teams.items()}
    cpu_s = {workers: median(team.cpu_s for team in of) for workers, of in teams.items()}
    ratios |= {"two_workers_vs_one": rounded(together[2] / together[1]), "cpu_one_vs_two": rounded(cpu_s[1] / cpu_s[2])}
    details: dict[str, Any] = {
        "cpu_s_per_million_events": {n: rounded(median(r.own_cpu_s for r in of)) for n, of in runs.items()},
        "broker_cpu_s_per_million_events": {n: rounded(median(r.broker_cpu_s for r in of)) for n, of in runs.items()},
        "records_written_by_ours": runs["ours"][-1].written,
        "rates": {name: [rounded(run.rate) for run in of] for name, of in runs.items()},
        "events_per_s_of_workers_together": {str(workers): rounded(found) for workers, found in together.items()},
        "cpu_s_per_million_events_of_workers_together": {str(workers): rounded(s) for workers, s in cpu_s.items()},
    }
    return Report(
        bench="grids",
        unit="events/s",
        ours=ours,
        peers=rates,
        floor=floor,
        ratios=ratios | {"vs_floor": rounded(ours / floor["confluent"])},
        goals=GOALS,
        exact=all(run.is_exact for of in (*runs.values(), *teams.values()) for run in of),
        details=details | ({"left_out": left_out} if left_out else {}),
    )
