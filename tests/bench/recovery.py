"""`recovery`: seconds from the start of a worker that was killed to its first tick in every partition.

A worker takes a million cases with a deadline each and is killed with SIGKILL; the next one finds
the changelog. Ready means: state loaded, deadlines indexed, lanes open, and a tick of its own sent,
read and applied in all four partitions. Stock Faust recovers a table from a changelog of the same making
and a tenth of the keys, for the whole would take it minutes; its time a key is what is multiplied.
It is ready when its table may be used.
"""

from statistics import median
from typing import Any

import psutil
from msgspec import Struct

from tests.bench.clocks import PARTITIONS, ClockRun
from tests.bench.progress import now_ms
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Stage, topic

GOALS = {"vs_faust": 10.0, "vs_target": 1.0}
TARGET_S = 10.0
TENTH = 10
_DELAY_MS = 24 * 3600 * 1000
_STOCK_PATIENCE_S = 300.0


class Recovered(Struct, frozen=True, kw_only=True):
    """One recovery of ours."""

    ready_s: float
    loaded_s: float
    bytes_per_key: float
    is_exact: bool


def bench(stage: Stage, *, keys: int, rounds: int) -> Report:
    """Fill, kill, recover *rounds* times; then let stock Faust recover a tenth once."""
    run, tenth = ClockRun(stage, "bench-recovery"), ClockRun(stage, "bench-recovery-tenth")
    empty_bytes = _fill(run, keys)
    _fill(tenth, keys // TENTH)
    total = sum(due_ms for _, due_ms in run.due_ms())
    recovered = []
    for number in range(rounds):
        recovered.append(_recover(run, keys, total, empty_bytes))
        note(f"{number + 1}/{rounds} ours ready in {recovered[-1].ready_s:.1f} s, exact: {recovered[-1].is_exact}")
    stock_s = _stock(stage, tenth)
    note(f"stock Faust would be ready in {stock_s:.1f} s")
    return _report(recovered, stock_s, keys, stage.written(run.changelog.name))


def _fill(run: ClockRun, keys: int) -> int:
    """Open *keys* cases through a worker and kill it; return how many bytes it took while it was empty."""
    with run.worker() as worker:
        worker.await_said("ready")
        empty_bytes: int = psutil.Process(worker.child.pid).memory_info().rss
        run.open_cases(keys, lambda _: _DELAY_MS)
        run.await_open(keys)
    return empty_bytes


def _recover(run: ClockRun, keys: int, total: int, empty_bytes: int) -> Recovered:
    began_ms = now_ms()
    with run.worker() as worker:
        loaded = [worker.await_said("loaded") for _ in range(PARTITIONS)]
        ready = [worker.await_said("ready") for _ in range(PARTITIONS)]
        resident: int = psutil.Process(worker.child.pid).memory_info().rss
    return Recovered(
        ready_s=(max(moment.at_ms for moment in ready) - began_ms) / 1000,
        loaded_s=(max(moment.at_ms for moment in loaded) - began_ms) / 1000,
        bytes_per_key=(resident - empty_bytes) / keys,
        is_exact=sum(moment.fields["keys"] for moment in loaded) == keys
        and sum(moment.fields["total"] for moment in loaded) == total,
    )


def _stock(stage: Stage, tenth: ClockRun) -> float:
    """Return how long stock Faust takes from its start; all but the start of the process grows with the keys."""
    run = "bench-stock-recovery"
    stage.create(topic(f"{run}-input"))
    launched_ms = now_ms()
    with stage.contender("stock_recovery", stage.settings.kafka, tenth.changelog.name, run) as stock:
        began, ready = stock.await_said("began"), stock.await_said("ready", _STOCK_PATIENCE_S)
    return (began.at_ms - launched_ms + (ready.at_ms - began.at_ms) * TENTH) / 1000


def _report(recovered: list[Recovered], stock_s: float, keys: int, records: int) -> Report:
    ours = rounded(median(found.ready_s for found in recovered))
    details: dict[str, Any] = {
        "keys": keys,
        "changelog_records": records,
        "ready_s": [rounded(found.ready_s) for found in recovered],
        "state_loaded_s": rounded(median(found.loaded_s for found in recovered)),
        "resident_bytes_per_key": rounded(median(found.bytes_per_key for found in recovered)),
    }
    return Report(
        bench="recovery",
        unit="s from start to ready",
        ours=ours,
        peers={"faust": rounded(stock_s)},
        floor={},
        ratios={"vs_faust": rounded(stock_s / ours), "vs_target": rounded(TARGET_S / ours)},
        goals=GOALS,
        exact=all(found.is_exact for found in recovered),
        details=details,
    )
