"""`python -m tests.bench NAME`: run one bench; exit 1 when a result is not the oracle's."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable

import msgspec

from infra import logs
from tests.bench import alerts, cases, grids, intake, queries, recovery, sink, timers
from tests.bench.report import Report, note, write
from tests.bench.stage import Stage, stage

BENCHES: dict[str, Callable[[Stage, argparse.Namespace], Report]] = {
    "grids": lambda on, asked: grids.bench(on, events=asked.size or 1_000_000, rounds=asked.rounds),
    "alerts": lambda on, asked: alerts.bench(on, rounds=asked.rounds, capacity_events=asked.size or 30_000),
    "recovery": lambda on, asked: recovery.bench(on, keys=asked.size or 1_000_000, rounds=asked.rounds),
    "intake": lambda on, asked: intake.bench(on, reports=asked.size or 20_000, rounds=asked.rounds),
    "sink": lambda on, asked: sink.bench(on, rows=asked.size or 400_000, rounds=asked.rounds),
    "queries": lambda on, asked: queries.bench(on, rows=asked.size or 20_000_000, rounds=asked.rounds),
    "cases": lambda on, asked: cases.bench(on, reports=asked.size or 50_000, rounds=asked.rounds),
    "timers": lambda on, asked: timers.bench(on, cases=asked.size or 1_000_000),
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="gridwatch bench", description=__doc__)
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--size", type=int, help="events, keys, cases or rows; much less than the default means little")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant; the median counts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="write table and plot into docs/performance.md")
    asked = parser.parse_args()
    logs.configure("bench")  # to stderr: what is printed is one JSON object
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so broker and contenders end with us
    load = os.getloadavg()[0]
    with stage() as on:
        report = BENCHES[asked.name](on, asked)
    report.details["load_average_before"] = load
    if asked.write:
        write(report)
    found = msgspec.to_builtins(report)
    sys.stdout.write((json.dumps(found) if asked.json else json.dumps(found, indent=2)) + "\n")
    if not report.exact:
        note("not exact: the figures are void")
    sys.exit(0 if report.exact else 1)


if __name__ == "__main__":
    main()
