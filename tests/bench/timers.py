"""`timers`: how late alerts are while a million clocks run, 20,000 are stopped and 1,000 ring every second.

Through Kafka and state: cases open, are acknowledged and ring as records, and every clock is a key of
the state with its changelog record. A clock that was acknowledged in time must not ring, though it is
due one to three seconds after; every other one must ring once due, under one id.
"""

from typing import Any

from msgspec import Struct

from tests.bench.clocks import ClockRun
from tests.bench.latency import quantile
from tests.bench.progress import now_ms
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Stage
from tests.conftest import eventually

RINGS_PER_S, STOPS_PER_S = 1_000, 20_000
RUN_S = 20
TARGET_MS = 1_200.0  # a tick and 200 ms
GOALS = {"vs_target": 1.0}
_FILL_PER_S = 25_000  # slower than an idle machine opens cases, so that no clock rings before all run
_MARGIN_MS = 1_000  # from when a clock is to be stopped until it is due, and up to three times that
_FAR_MS = 3_600_000
_SETTLED_MS = 3_000  # after the last clock was due, whatever rings has rung


class Verdict(Struct, frozen=True, kw_only=True):
    """What rang, against what the inputs say should have."""

    late_ms: list[float]  # in order
    lost: int
    early: int
    wrong: int  # stopped in time, and rang
    twice: int  # under two ids

    @property
    def is_exact(self) -> bool:
        """Tell whether nothing is lost, early, wrong or twice."""
        return not (self.lost or self.early or self.wrong or self.twice)


def bench(stage: Stage, *, cases: int) -> Report:
    """Open *cases* clocks, then stop and let ring at their rates."""
    run, rings, stops = ClockRun(stage, "bench-timers"), RINGS_PER_S * RUN_S, STOPS_PER_S * RUN_S
    start_ms = now_ms() + 10_000 + cases * 1000 / _FILL_PER_S

    def delay_ms(n: int) -> int:
        if n < rings:
            due_ms = start_ms + n * 1000 / RINGS_PER_S
        elif n < rings + stops:
            due_ms = start_ms + (n - rings) * 1000 / STOPS_PER_S + _MARGIN_MS * (1 + n % 3)
        else:
            due_ms = start_ms + _FAR_MS
        return max(0, int(due_ms - now_ms()))

    with run.worker() as worker:
        worker.await_said("ready")
        run.open_cases(cases, delay_ms)
        run.await_open(cases)
        spare_ms = start_ms - now_ms()
        note(f"{cases:,} clocks run; the first rings in {spare_ms / 1000:.1f} s")
        eventually(lambda: now_ms() >= start_ms, within_s=120, what="the first clock rings")
        before_s = worker.cpu_s()
        run.acknowledge(range(rings, min(cases, rings + stops)), STOPS_PER_S)
        last_due_ms = start_ms + RUN_S * 1000 + 3 * _MARGIN_MS
        eventually(lambda: now_ms() > last_due_ms + _SETTLED_MS, within_s=120, what="every clock was due")
        busy_s = worker.cpu_s() - before_s
    verdict = judge(run, until_ms=last_due_ms)
    shares = {"busy_cores": rounded(busy_s * 1000 / (last_due_ms + _SETTLED_MS - start_ms))}
    return _report(verdict, {"cases": cases, "spare_s_before_the_first": rounded(spare_ms / 1000), **shares})


def judge(run: ClockRun, *, until_ms: float) -> Verdict:
    """Compare what rang with what must have by *until_ms*, from the input topics alone."""
    due = dict(run.due_ms())
    stopped = {case for case, at_ms in run.acknowledged_ms() if at_ms < due[case]}
    must = {case for case, due_ms in due.items() if due_ms <= until_ms} - stopped
    late: dict[str, float] = {}
    ids: dict[str, set[str]] = {}
    for case, ident, at_ms in run.rung():
        late.setdefault(case, at_ms - due[case])
        ids.setdefault(case, set()).add(ident)
    return Verdict(
        late_ms=sorted(late.values()),
        lost=len(must - late.keys()),
        early=sum(ms < 0 for ms in late.values()),
        wrong=len(stopped & late.keys()),
        twice=sum(len(found) > 1 for found in ids.values()),
    )


def _report(verdict: Verdict, details: dict[str, Any]) -> Report:
    p99 = rounded(quantile(verdict.late_ms, 0.99))
    details |= {
        "rang": len(verdict.late_ms),
        "late_ms": {name: rounded(quantile(verdict.late_ms, q)) for name, q in (("p50", 0.5), ("worst", 1.0))},
        "found": {name: getattr(verdict, name) for name in ("lost", "early", "wrong", "twice")},
    }
    return Report(
        bench="timers",
        unit="ms late, p99",
        ours=p99,
        peers={},
        floor={},
        ratios={"vs_target": rounded(TARGET_MS / p99)},
        goals=GOALS,
        exact=verdict.is_exact,
        details=details,
    )
