"""The warehouse's tables made anew from the topics, beside the living ones, then exchanged.

The sink may run meanwhile: what it wrote into the old tables after the new ones were read is
read once more into the new ones, after the exchange. A run that was killed is run again.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum
from typing import Final

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from msgspec import Struct

from consumers.warehouse.batch import MAX_RECORDS, Batch
from consumers.warehouse.domain.rows import SUNK, TABLES
from consumers.warehouse.replay import Offsets, Replay
from consumers.warehouse.store import INSERT
from infra.clickhouse import fault
from infra.clock import monotonic_s, utc_now
from infra.settings import Settings
from schemas.errors import SetupError

_NEW: Final = "__rebuilt"


class Unheld(StrEnum):
    """What to do about rows whose records the topics hold no more: retention or a tombstone took them."""

    REFUSE = "refuse"  # change nothing
    KEEP = "keep"  # copy them from the old tables
    DROP = "drop"  # let them go


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What became of one table."""

    table: str
    rows: int
    unheld: int  # rows of the old table that the topics hold no more


async def rebuild(settings: Settings, client: Client, unheld: Unheld, say: Callable[[str], None]) -> list[Rebuilt]:
    """Fill every table of the sink anew and put it in the place of the old one.

    Raises:
        SetupError: the topics no longer hold every row and *unheld* is REFUSE; nothing has changed.
        UnavailableError: broker or warehouse does not answer; run it again.
    """
    try:
        for table in TABLES:
            client.command(f"DROP TABLE IF EXISTS {table}{_NEW}")
            client.command(f"CREATE TABLE {table}{_NEW} AS {table}")
        began = utc_now()
        ends = await _load(settings, client, {}, _NEW, say)
        lost = {table: _unheld(client, table, began) for table in TABLES}
        _settle(client, lost, unheld)
        for table in TABLES:
            client.command(f"EXCHANGE TABLES {table} AND {table}{_NEW}")
        await _load(settings, client, ends, "", say)
        for table in TABLES:
            client.command(f"DROP TABLE {table}{_NEW}")
        return [Rebuilt(table=table, rows=_count(client, table), unheld=lost[table]) for table in TABLES]
    except Error as error:
        raise fault(error) from error


async def _load(
    settings: Settings, client: Client, starts: Offsets, suffix: str, say: Callable[[str], None]
) -> Offsets:
    """Read the topics from *starts* to where they end now into the tables with *suffix*; return the ends."""
    replay = await Replay.open(settings, SUNK)
    try:
        batch, done = Batch(), 0
        async with aclosing(replay.chunks(starts, replay.ends, MAX_RECORDS)) as chunks:
            async for chunk in chunks:
                batch.add(chunk.topic, chunk.partition, chunk.records, monotonic_s())
                if batch.is_full:
                    done += batch.records
                    await asyncio.to_thread(_insert, client, batch, suffix)
                    say(f"{done:,} records")
                    batch = Batch()
        await asyncio.to_thread(_insert, client, batch, suffix)
        say(f"{done + batch.records:,} records, all there are")
        return replay.ends
    finally:
        await replay.close()


def _insert(client: Client, batch: Batch, suffix: str) -> None:
    """Insert the rows; what is no row has its dead letter already."""
    for table, content in batch.tables().items():
        client.insert_arrow(f"{table}{suffix}", content, settings=INSERT)


def _unheld(client: Client, table: str, began: datetime) -> int:
    """Return how many rows of the old table the new one has not, though they were appended before it was begun.

    By time: offsets say nothing of topics that were lost or made anew.
    """
    key = _key(client, table)
    [[rows]] = client.query(
        f"SELECT uniqExact({key}) FROM {table}"  # noqa: S608
        f" WHERE {key} NOT IN (SELECT {key} FROM {table}{_NEW}) AND appended_at < {{began:DateTime64(3, 'UTC')}}",
        {"began": began},
    ).result_rows
    return int(rows)


def _key(client: Client, table: str) -> str:
    """Return a hash of the columns that identify a row: a set of millions must fit in memory."""
    found = client.query(
        "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        {"table": table},
    )
    return f"sipHash64({found.result_rows[0][0]})"


def _settle(client: Client, lost: dict[str, int], unheld: Unheld) -> None:
    """Do what *unheld* says about the rows that the topics hold no more.

    Raises:
        SetupError: there are some, and nobody said what to do.
    """
    told = ", ".join(f"{rows:,} rows of {table}" for table, rows in lost.items() if rows)
    if told and unheld is Unheld.REFUSE:
        for table in TABLES:
            client.command(f"DROP TABLE {table}{_NEW}")
        raise SetupError("topics", f"no longer hold {told}; say --unheld keep or --unheld drop. Nothing has changed")
    if unheld is Unheld.KEEP:
        for table in (table for table, rows in lost.items() if rows):
            key = _key(client, table)
            client.command(
                f"INSERT INTO {table}{_NEW} SELECT * FROM {table} FINAL"  # noqa: S608
                f" WHERE {key} NOT IN (SELECT {key} FROM {table}{_NEW})",
                settings=INSERT,
            )


def _count(client: Client, table: str) -> int:
    [[rows]] = client.query(f"SELECT count() FROM {table} FINAL").result_rows  # noqa: S608
    return int(rows)
