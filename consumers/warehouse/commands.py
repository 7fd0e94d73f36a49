"""`gridwatch warehouse rebuild` and `… reconcile`: the tables against the topics, by hand."""

import asyncio
import sys
from contextlib import closing
from datetime import datetime
from typing import Any

import cyclopts
import msgspec
from clickhouse_connect.driver import Client

from consumers.warehouse.rebuild import Unheld
from consumers.warehouse.rebuild import rebuild as rebuild_tables
from consumers.warehouse.reconcile import reconcile as compare
from consumers.warehouse.sink import GROUP
from infra import logs
from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.replay.letters import instant
from infra.settings import Settings
from infra.show import Json, show
from schemas.errors import EXIT_CRASH, EXIT_SETUP, GridwatchError, SetupError, UnavailableError

app = cyclopts.App(name="warehouse", help="The tables against the topics they are made from.")


@app.command
def rebuild(*, unheld: Unheld = Unheld.REFUSE, json: Json = False) -> None:
    """Make every table anew from the topics, beside the living one, and exchange the two; the sink may run.

    Refuses, and changes nothing, when the topics no longer hold everything that the tables hold.

    Args:
        unheld: what to do about such rows: refuse, keep (copy them from the old tables) or drop.
        json: print JSON.
    """
    with _client() as client:
        rebuilt = asyncio.run(rebuild_tables(Settings(), client, unheld, _say))
    show([msgspec.to_builtins(table) for table in rebuilt], as_json=json)


@app.command
def reconcile(*, since: str | None = None, json: Json = False) -> None:
    """Hold the topics against the tables: every record that is a row must be one, once; exit 1 if not.

    What the sink has not committed yet is left out. The sink does this by itself once a day, over the
    last day; `v_reconciliations` keeps what it found.

    Args:
        since: only records appended since then: `2h`, `90m`, `7d` ago, or RFC 3339 with zone.
        json: print JSON.
    """
    with _client() as client:
        found = asyncio.run(compare(Settings(), client, group=GROUP, since=_instant(since)))
    show([msgspec.to_builtins(finding) for finding in found], as_json=json)
    sys.exit(0 if all(finding.is_right for finding in found) else 1)


def _client() -> "closing[Client]":
    return closing(connect(Settings(), Role.WRITER, timeout_s=600.0))  # a whole table may be asked about


def _instant(text: str | None) -> datetime | None:
    try:
        return None if text is None else instant(text, utc_now())
    except (ValueError, OverflowError) as error:
        raise SetupError("--since", f"{text!r} is neither 90m, 2h or 7d nor an instant with zone") from error


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(*arguments: Any) -> None:
    """Run the command; an error of ours becomes one line, and exit code 78, or 70 when to try again may help."""
    logs.configure("gridwatch", for_people=True)
    try:
        app(arguments or None)
    except GridwatchError as error:
        _say(f"gridwatch: {error}")
        sys.exit(EXIT_CRASH if isinstance(error, UnavailableError) else EXIT_SETUP)


if __name__ == "__main__":
    main()
