"""The one command, `gridwatch`. Starts processes by module name; imports none of them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import cyclopts
import httpx
import msgspec
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from infra import doctor as checks
from infra import logs, reference
from infra import migrate as migrations
from infra.clickhouse import Role as ClickHouseRole
from infra.clickhouse import connect, fault
from infra.clock import utc_now
from infra.export import Format, export
from infra.local import broker
from infra.local.jars import fetch_jars, lock_jars
from infra.local.stack import Stack
from infra.settings import Settings
from infra.show import Json, show
from schemas.errors import EXIT_CRASH, EXIT_SETUP, GridwatchError, SetupError, UnavailableError

app = cyclopts.App(
    name="gridwatch", help="网格守望 GridWatch: from cameras and reports to cases, alerts and ClickHouse."
)
app.command("infra.backup.commands:backup", name="backup")
app.command("infra.backup.commands:restore", name="restore")
app.command("infra.case.commands:app", name="case")
app.command("infra.policy.commands:app", name="policy")
app.command("infra.registry.commands:app", name="registry")  # by name: shapely is for those who audit
app.command("infra.replay.commands:replay", name="replay")
app.command("infra.silence.commands:app", name="silence")
app.command("infra.topics.commands:app", name="topics")
app.command("infra.topics.commands:tail", name="tail")

PROCESSES = {
    "worker": "pipelines",
    "intake": "producers.reports",
    "cameras": "producers.cameras",
    "simulate": "producers.simulator",
    "sink": "consumers.warehouse",
    "rollups": "consumers.warehouse.rollups",
    "dashboard": "consumers.dashboard",
    "broker": "infra.local.broker",
}

_err = Console(stderr=True, highlight=False)


@app.command
def up(
    *,
    seconds: float | None = None,
    json: Json = False,
    simulate: bool = True,
    seed: int = 7,
    rate: float = 8.0,
    cameras: int = 32,
) -> None:
    """Start everything on this machine; Ctrl-C stops it cleanly.

    Args:
        seconds: stop by itself after this long, reconcile, and exit non-zero if anything disagrees.
        json: print the summary as one JSON object.
        simulate: let the demo district live.
        seed: of the demo district.
        rate: reports a second of the demo district; 0 leaves its people out.
        cameras: how many cameras of the demo district are up.
    """
    settings = Settings()
    people = ("--seed", str(seed), "--rate", str(rate), "--cameras", str(cameras))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack = Stack(settings, _say, time.sleep, people if simulate else None)
    try:
        stack.start()
        _say("ok", "ready", f"{stack.ready_s:.1f} s; Ctrl-C stops everything, data is kept in {settings.data_dir}")
        stack.run(seconds)
        summary = stack.finish()
    except KeyboardInterrupt:
        sys.exit(0 if stack.stop() else 1)
    except GridwatchError:
        stack.stop()
        raise
    show(msgspec.to_builtins(summary), as_json=json)
    sys.exit(0 if summary.healthy and summary.reconciled else 1)


@app.command
def fetch(*, lock: bool = False) -> None:
    """Fetch Kafka's jars, each checked against the committed SHA-256.

    Args:
        lock: instead resolve `jgo.toml` afresh and write the list of jars again.
    """
    if lock:
        _err.print(f"{lock_jars()} jars locked")
        return
    fetch_jars(Settings(), _progress)
    broker.train(Settings())


@app.command
def report(
    grid_id: str,
    item_code: str,
    description: str,
    *,
    by: str | None = None,
    report_id: str | None = None,
    json: Json = False,
) -> None:
    """Send a report to the intake and show its case's number.

    Args:
        grid_id: 15 digits.
        item_code: 5 digits of the catalogue.
        description: what was seen.
        by: roster id of the worker; without it the report is a resident's.
        report_id: send twice with the same id, get one case.
        json: print JSON.
    """
    body = {
        "grid_id": grid_id,
        "item_code": item_code,
        "description": description,
        "channel": "worker" if by else "resident",
        "occurred_at": utc_now().isoformat(),
    }
    body |= {name: value for name, value in (("reported_by", by), ("report_id", report_id)) if value}
    try:
        answer = httpx.post(f"{Settings().intake_url}/reports", json=body, timeout=15)
    except httpx.HTTPError as error:
        raise UnavailableError("intake", f"{error}; is it running at {Settings().intake_url}?") from error
    show(answer.json(), as_json=json)
    sys.exit(0 if answer.is_success else 1)


@app.command
def sql(query: str, *, json: Json = False, format: Format | None = None, out: Path | None = None) -> None:
    """Ask the warehouse as an analyst: SELECT, within limits.

    Args:
        query: one SELECT; the views are v_cases, v_case_events, v_grid_counts, v_kpi and others (docs/analysts.md).
        json: print a list of objects.
        format: write a file instead; texts in it never become a spreadsheet's formulas.
        out: the file; its ending tells the format if --format does not.
    """
    if format is not None or out is not None:
        _export(query, format, out)
        return
    with closing(connect(Settings(), ClickHouseRole.READER)) as client:
        try:
            answer = client.query(query)
        except ClickHouseError as error:
            raise fault(error) from error
    rows = [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]
    show(rows, as_json=json)


def _export(query: str, asked: Format | None, path: Path | None) -> None:
    if path is None:
        raise SetupError("--format", "needs --out FILE")
    try:
        kind = asked or Format(path.suffix.removeprefix("."))
    except ValueError:
        raise SetupError("--out", f"{path.name} tells no format: add --format csv, parquet or xlsx") from None
    with closing(connect(Settings(), ClickHouseRole.READER)) as client:
        rows = export(client, query, kind, path)
    _err.print(f"{rows} rows in {path}")


@app.command
def migrate(*, dry_run: bool = False, sql: bool = False, json: Json = False) -> None:
    """Bring the warehouse's tables and views up to date; on a cluster when GRIDWATCH_CLICKHOUSE_CLUSTER names one.

    Args:
        dry_run: only show what would run.
        sql: only print the SQL that would run.
        json: print JSON.
    """
    settings = Settings()
    target = migrations.target_of(settings)
    with closing(connect(settings, ClickHouseRole.WRITER)) as client:
        if sql:
            sys.stdout.write(migrations.script(client, target))
            return
        applied = migrations.migrate(client, target, dry_run=dry_run)
    show([msgspec.to_builtins(migration) for migration in applied], as_json=json)


@app.command
def publish(*, json: Json = False) -> None:
    """Put the district's grids, people, cameras, items and policy in force, for workers that start from now on.

    Args:
        json: print JSON.
    """
    published = reference.publish(Settings(), utc_now())
    row = msgspec.to_builtins(published.edition)
    show(row | {"written": published.written if json else ", ".join(published.written) or "nothing"}, as_json=json)


@app.command
def doctor(*, json: Json = False) -> None:
    """Check this machine and the stack: Java, jars, disk, ports, topics, lag."""
    found = checks.examine(Settings())
    show([msgspec.to_builtins(check) for check in found], as_json=json)
    sys.exit(0 if all(check.ok for check in found) else 1)


@app.command
def bench(name: str, *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Run one benchmark of this checkout; exit 1 when a result is not the oracle's.

    Args:
        name: grids, cases, timers, recovery, alerts, intake, queries or sink.
        arguments: --json, --write, --size N, --rounds N.
    """
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "tests" / "bench").is_dir():
        raise SetupError("bench", "needs a checkout: the benchmarks are no part of the installed package")
    command = [sys.executable, "-m", "tests.bench", name, *arguments]
    sys.exit(subprocess.run(command, cwd=checkout, check=False).returncode)


def _process(name: str) -> None:
    def run(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
        Settings()  # a wrong one is told in a line here; the process itself would end in a traceback
        os.execv(sys.executable, [sys.executable, "-m", PROCESSES[name], *arguments])  # noqa: S606 - no shell wanted

    run.__doc__ = f"Run one {name} process in the foreground."
    app.command(run, name=name)


for _name in PROCESSES:
    _process(_name)


@app.command(help_flags=())
def warehouse(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Run the embedded warehouse in the foreground, or hold its tables against the topics: rebuild, reconcile."""
    module = "consumers.warehouse.commands" if arguments else "infra.local.warehouse"
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell wanted


def _say(mark: str, what: str, detail: str) -> None:
    """Show one event of the stack."""
    colour = {"ok": "green", "up": "green", "!!": "yellow", "no": "red"}.get(mark, "dim")
    _err.print(f"[{colour}]{mark:>3}[/] {what:<10} {detail}", markup=True)


def _progress(done: int, of: int, name: str) -> None:
    _err.print(f" {done:>3}/{of} {name}" if done < of else f" {of} jars, checksums verified")


def _fail(text: str, code: int) -> NoReturn:
    _err.print("[red]gridwatch:[/]", escape(text), soft_wrap=True)
    sys.exit(code)


def main() -> NoReturn:
    """Run the command; an error of ours becomes one line, and exit code 78, or 70 when to try again may help."""
    logs.configure("gridwatch", for_people=True)
    try:
        app()
        sys.stdout.flush()
    except ValidationError as error:
        wrong = (f"GRIDWATCH_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        _fail("; ".join(wrong), EXIT_SETUP)
    except UnavailableError as error:
        # librdkafka's errors alone do not say where they knocked.
        _fail(f"{error}; is it running at {Settings().kafka}?" if error.what == "kafka" else str(error), EXIT_CRASH)
    except GridwatchError as error:
        _fail(str(error), EXIT_SETUP)
    except BrokenPipeError:  # who reads us has seen enough (`| head`); nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


if __name__ == "__main__":
    main()
