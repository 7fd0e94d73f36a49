"""`cases`: reports/s through the whole case engine, against stock Faust that only counts them.

Each report opens a case and dispatches it: two lines of the ledger, one record on `cases`, one on the
changelog. The oracle is the case program in a plain loop over the input, without engine or batches.
"""

from collections import defaultdict
from functools import partial
from statistics import median
from typing import Any

import psutil
from msgspec import Struct

from infra.kafka import headers, read_to_end
from infra.reference import in_force
from infra.settings import Settings
from pipelines.agents.case_program import CaseProgram
from pipelines.stream.state import Restored
from schemas import codec
from schemas.policy import load_policy, policy_hash
from schemas.topics import CASE_EVENTS, CASES, REPORTS, STATE_CHANGELOG
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Stage, cpu_s
from tests.bench.worker import Kept, Step, calm, case_engine, rate, steps
from tests.builders import REGISTRY, a_report
from tests.conftest import eventually

GOALS = {"vs_faust": 10.0}
_STOCK_RECORDS = 5_000
_LINES = 2  # of the ledger, a report
_PATIENCE_S = 120.0


class Run(Struct, frozen=True, kw_only=True):
    """One worker's way through what was waiting for it."""

    rate: float  # reports/s
    own_cpu_s: float  # per million reports
    broker_cpu_s: float  # per million reports


def report(n: int) -> tuple[bytes, bytes]:
    """Return key and value of the *n*-th report."""
    grids = sorted(REGISTRY.grids)
    made = a_report(f"r-{n}", grid_id=grids[n % len(grids)])
    return made.grid_id.encode(), codec.encode(made)


def bench(stage: Stage, *, reports: int, rounds: int) -> Report:
    """Let a worker catch up with *reports* reports, *rounds* times; stock Faust counts some by turns."""
    settings = calm(stage)
    ours: list[Run] = []
    stock: list[Run] = []
    for number in range(rounds):
        stage.fill(REPORTS.name, reports, lambda n, first=number * reports: report(first + n))
        ours.append(_ours(stage, settings, done=number * reports, reports=reports))
        note(f"{number + 1}/{rounds} ours  {ours[-1].rate:>8,.0f} reports/s")
        stock.append(_stock(stage, number))
        note(f"{number + 1}/{rounds} faust {stock[-1].rate:>8,.0f} reports/s")
    written = {topic.name: stage.written(topic.name) for topic in (CASE_EVENTS, CASES, STATE_CHANGELOG)}
    return _report(ours, stock, written, is_exact=is_exact(settings))


def _ours(stage: Stage, settings: Settings, *, done: int, reports: int) -> Run:
    with case_engine(settings) as worker:
        process = psutil.Process(worker.pid)
        before_s, broker_before_s = cpu_s(process), cpu_s(stage.broker)
        lines = partial(stage.written, CASE_EVENTS.name)
        eventually(lambda: lines() >= _LINES * (done + reports), within_s=_PATIENCE_S, what="each report has its lines")
        own_s, broker_s = cpu_s(process) - before_s, cpu_s(stage.broker) - broker_before_s

        def whole() -> list[Step] | None:
            way = steps(settings, REPORTS.name)
            return way if way[-1].total == done + reports else None

        way: Any = eventually(whole, within_s=_PATIENCE_S, what="state reflects each report")
    per_million = 1_000_000 / reports
    return Run(rate=rate(way, after=done), own_cpu_s=own_s * per_million, broker_cpu_s=broker_s * per_million)


def _stock(stage: Stage, number: int) -> Run:
    """Let stock Faust count the first reports."""
    arguments = (stage.settings.kafka, REPORTS.name, f"bench-cases-faust-{number}", str(_STOCK_RECORDS))
    with stage.contender("stock_faust", *arguments) as running:
        first, last = running.await_said("first"), running.await_said("last")
    counted = last.fields["records"] - first.fields["records"]
    return Run(
        rate=counted * 1000 / (last.at_ms - first.at_ms),
        own_cpu_s=(last.own_cpu_s - first.own_cpu_s) * 1_000_000 / counted,
        broker_cpu_s=(last.broker_cpu_s - first.broker_cpu_s) * 1_000_000 / counted,
    )


def is_exact(settings: Settings) -> bool:
    """Tell whether ledger, cases and state are what the case program makes of the input in a plain loop."""
    policy_id = policy_hash(load_policy(settings.district_dir))
    policies = in_force(settings).policies
    plain = [
        CaseProgram(p, settings.partitions, registry=REGISTRY, policies=policies, policy_id=policy_id)
        for p in range(settings.partitions)
    ]
    ledger: set[str] = set()
    for message in read_to_end(settings, REPORTS):
        outputs = plain[message.partition() or 0].take(REPORTS.name, Replayed.of(message))
        ledger |= {_ce_id(output.headers) for output in outputs if output.topic == CASE_EVENTS.name}
    state = {change.key: change.value for program in plain for change in program.settle().changes}
    restored: defaultdict[int, Restored] = defaultdict(Restored)
    for message in read_to_end(settings, STATE_CHANGELOG):
        restored[message.partition() or 0].take([Kept(message.key(), message.value())])
    cases = {message.key() for message in read_to_end(settings, CASES)}
    found = [_ce_id(headers(message)) for message in read_to_end(settings, CASE_EVENTS)]
    return (
        {key: value for part in restored.values() for key, value in part.content().items()} == state
        and cases == state.keys()
        and set(found) == ledger
        and len(found) == len(ledger)
    )


class Replayed(Struct, frozen=True, kw_only=True):
    """A record as the program reads it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @classmethod
    def of(cls, message: Any) -> "Replayed":
        """Return what confluent-kafka gave."""
        return cls(
            offset=message.offset(),
            timestamp=message.timestamp()[1],
            key=message.key(),
            value=message.value(),
            headers=[],
        )


def _ce_id(pairs: Any) -> str:
    return codec.header(pairs, "ce_id") or ""


def _report(ours: list[Run], stock: list[Run], written: dict[str, int], *, is_exact: bool) -> Report:
    rates = {name: rounded(median(run.rate for run in runs)) for name, runs in (("ours", ours), ("faust", stock))}
    details: dict[str, Any] = {
        "cpu_s_per_million_reports": {
            name: rounded(median(run.own_cpu_s for run in runs)) for name, runs in (("ours", ours), ("faust", stock))
        },
        "broker_cpu_s_per_million_reports": {
            name: rounded(median(run.broker_cpu_s for run in runs)) for name, runs in (("ours", ours), ("faust", stock))
        },
        "records_written_by_ours": written,
        "rates": {"ours": [rounded(run.rate) for run in ours], "faust": [rounded(run.rate) for run in stock]},
    }
    return Report(
        bench="cases",
        unit="reports/s",
        ours=rates["ours"],
        peers={"faust": rates["faust"]},
        floor={},
        ratios={"vs_faust": rounded(rates["ours"] / rates["faust"])},
        goals=GOALS,
        exact=is_exact,
        details=details,
    )
