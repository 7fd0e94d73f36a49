"""`python -m consumers.warehouse.rollups`: keeps the roll-ups that dashboards read as fresh as a few seconds.

One such process at a time, on one server (block numbers are a server's). It keeps what it has seen beside the roll-ups,
so a kill costs nothing: what was not noted is written again.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from threading import Event
from typing import Any, Final

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from msgspec import MsgspecError

from consumers.warehouse import grids
from consumers.warehouse.domain import rollups as domain
from consumers.warehouse.domain.rollups import ROLL_UPS, Part, RollUp, Seen
from infra import clock, logs
from infra.clickhouse import Role, connect, fault
from infra.logs import logger
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, SetupError, UnavailableError

_NAMED_EVERY_S: Final = 60.0
_TIMEOUT_S: Final = 600.0  # the first refresh of a large lake
_BESIDE: Final = {
    "max_threads": 1,  # the other core stays with those who ask
    "max_partitions_per_insert_block": 0,
    # A row and its repeat are in one month, so FINAL need not look into the others: 0.02 s against 0.22 for one hour.
    "do_not_merge_across_partitions_select_final": 1,
}
_PARTS: Final = """
SELECT table, toString(t.uuid), partition_id, p.name, greatest(max_block_number, data_version)
FROM system.parts AS p
INNER JOIN system.tables AS t ON t.database = p.database AND t.name = p.table
WHERE p.database = currentDatabase() AND active AND table IN {tables:Array(String)}
"""
_MONTHS: Final = """
SELECT DISTINCT partition_id FROM system.parts
WHERE database = currentDatabase() AND active AND table = {table:String}
"""
_SOURCES: Final = sorted({table for rollup in ROLL_UPS for table in rollup.sources})


def refresh(client: Client) -> None:
    """Bring every roll-up up to date and note when: all that is in the warehouse at the call is in it afterwards.

    Raises:
        UnavailableError: the warehouse does not answer; any part of it may be done, the next call does the rest.
        SetupError: tables or views are not those of this release.
    """
    try:
        grids.refresh(client)
        noted = [_refreshed(client, rollup) for rollup in ROLL_UPS]
        client.insert("rollups", noted, column_names=["name", "as_of", "took_ms", "seen"])
    except Error as error:
        raise fault(error) from error


def _refreshed(client: Client, rollup: RollUp) -> Sequence[Any]:
    began_s = clock.monotonic_s()
    [[as_of]] = client.query("SELECT now64(3, 'UTC')").result_rows
    rows = client.query(_PARTS, {"tables": _SOURCES}).result_rows
    found = [Part(table=t, uuid=u, partition=p, name=n, block=b) for t, u, p, n, b in rows if t in rollup.sources]
    seen = _seen(client, rollup)
    if domain.is_from_scratch(found, seen):
        _rewrite(client, rollup, set(rollup.sources), {}, is_whole=True)
    elif tables := domain.changed_tables(found, seen):
        _rewrite(client, rollup, tables, domain.known_parts(found, seen), is_whole=False)
    return [rollup.name, as_of, int((clock.monotonic_s() - began_s) * 1000), domain.seen_after(found)]


def _seen(client: Client, rollup: RollUp) -> Seen:
    rows = client.query("SELECT seen FROM rollups FINAL WHERE name = {name:String}", {"name": rollup.name}).result_rows
    return dict(rows[0][0]) if rows else {}


def _rewrite(client: Client, rollup: RollUp, tables: set[str], known: dict[str, list[str]], *, is_whole: bool) -> None:
    """Write the buckets again that *tables* touch outside of the *known* parts; of the whole, drop what is left."""
    _drop(client, rollup)
    client.command(
        f"CREATE TABLE {rollup.touched_table} ENGINE = Memory AS {domain.touched(rollup, tables, known)}",
        settings=_BESIDE,
    )
    extremes = f"SELECT toString(min(bucket)), toString(max(bucket)), count() FROM {rollup.touched_table}"  # noqa: S608
    [[first, last, buckets]] = client.query(extremes).result_rows
    client.command(f"CREATE TABLE {rollup.next_table} AS {rollup.table}")
    if buckets:
        client.command(domain.computed(rollup, first, last), settings=_BESIDE)
    if not is_whole:
        client.command(domain.kept(rollup), settings=_BESIDE)
    months = _months(client, rollup.next_table)
    vanished = _months(client, rollup.table) - months if is_whole else set()
    if (change := domain.replaced(rollup, months, vanished)) is not None:
        client.command(change)
    _drop(client, rollup)


def _months(client: Client, table: str) -> set[str]:
    return {str(month) for (month,) in client.query(_MONTHS, {"table": table}).result_rows}


def _drop(client: Client, rollup: RollUp) -> None:
    for table in (rollup.next_table, rollup.touched_table):
        client.command(f"DROP TABLE IF EXISTS {table} SYNC")


def run(settings: Settings, wait: Callable[[float], bool]) -> None:
    """Refresh again and again until *wait*, which sleeps between, says to stop; once a minute see to the grids' names.

    Raises:
        SetupError: tables or views are not those of this release.
    """
    named_s = -_NAMED_EVERY_S
    while True:
        try:
            with closing(connect(settings, Role.WRITER, timeout_s=_TIMEOUT_S)) as client:
                took_s = _timed(client)
                logger().info("rollups_fresh")
                while True:
                    if clock.monotonic_s() - named_s >= _NAMED_EVERY_S:
                        _name_grids(settings, client)
                        named_s = clock.monotonic_s()
                    if wait(domain.pause_s(took_s)):
                        return
                    took_s = _timed(client)
        except UnavailableError as error:
            logger().warning("rollups_wait", reason=str(error))
        if wait(domain.pause_s(0)):
            return


def _name_grids(settings: Settings, client: Client) -> None:
    """Take up a new edition's grids; without a broker, or before anything is published, the roll-ups go on."""
    try:
        if grids.take_up(settings, client, clock.utc_now()):
            logger().info("grids_taken_up")
    except (UnavailableError, SetupError, MsgspecError) as error:  # the last: of a newer release
        logger().warning("grids_wait", reason=str(error))
    except Error as error:
        raise fault(error) from error


def _timed(client: Client) -> float:
    began_s = clock.monotonic_s()
    refresh(client)
    return clock.monotonic_s() - began_s


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logs.configure("rollups")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(Settings(), stop.wait)
    except SetupError as error:
        logger().error("rollups_cannot_go_on", reason=str(error))
        sys.exit(EXIT_SETUP)


if __name__ == "__main__":
    main()
