"""The warehouse's tables as files of ClickHouse's Native format (zstd), the embedded engine's and a cluster's alike.

What the tables are is in the migrations; a backup names those that had run, and a restore runs
exactly these, fills the tables, then runs the rest: a later migration finds the rows it would have found.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import zstandard
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error

from infra.backup.manifest import Draft, TableCopy
from infra.clickhouse import fault
from infra.cluster import LOCAL, table_made
from infra.migrate import MIGRATIONS, Target, applied, load, migrate
from schemas.errors import SetupError

_PIECE_BYTES: Final = 1 << 20
_OF_MIGRATE: Final = ("schema_migrations", "schema_migrations" + LOCAL)
# Rows go in as they came out: not merged, not dropped as repeats, and months of them at once.
_AS_THEY_ARE: Final = {"optimize_on_insert": 0, "insert_deduplicate": 0, "max_partitions_per_insert_block": 0}
_TABLES: Final = """
    SELECT name, ifNull(total_rows, 0) FROM system.tables
    WHERE database = currentDatabase() AND endsWith(engine, 'MergeTree') AND name IN {known:Array(String)}
    ORDER BY name
"""
_OTHERS: Final = """
    SELECT name FROM system.tables
    WHERE database = currentDatabase() AND endsWith(engine, 'MergeTree') AND name NOT IN {known:Array(String)}
    ORDER BY name
"""
_COLUMNS: Final = """
    SELECT name FROM system.columns
    WHERE database = currentDatabase() AND table = {table:String}
      AND default_kind NOT IN ('MATERIALIZED', 'ALIAS', 'EPHEMERAL')
    ORDER BY position
"""


def file_of(table: str) -> str:
    """Return the path of a table's rows inside a backup."""
    return f"tables/{table}.native.zst"


def known_tables() -> list[str]:
    """Return the tables that this release's migrations make, on one server or on a cluster.

    A rebuild's and a roll-up's half-made tables are none of them, nor what somebody made by hand.
    """
    statements = [statement for migration in load(MIGRATIONS) for statement in migration.statements]
    names = [name for statement in statements if (name := table_made(statement))]
    return sorted({*names, *(name + LOCAL for name in names)})


def copy_tables(client: Client, draft: Draft) -> Iterator[TableCopy]:
    """Copy every table of the migrations into *draft*, each as it is at one moment.

    Raises:
        UnavailableError: the warehouse stopped answering.
    """
    for name, rows in _asked(client, _TABLES, {"known": known_tables()}):
        columns = [column for (column,) in _asked(client, _COLUMNS, {"table": name})]
        listed = ", ".join(f"`{column}`" for column in columns)
        with draft.new(file_of(name)) as path:
            try:
                _save(client, f"SELECT {listed} FROM `{name}`", path)  # noqa: S608 - names of the engine's own
            except Error as error:
                raise fault(error) from error
        yield TableCopy(name=name, columns=columns, rows=rows)


def _save(client: Client, query: str, path: Path) -> None:
    packer = zstandard.ZstdCompressor()
    with client.raw_stream(query, fmt="Native") as rows, path.open("wb") as file, packer.stream_writer(file) as packed:
        while piece := rows.read(_PIECE_BYTES):
            packed.write(piece)


def left_out(client: Client) -> list[str]:
    """Return the tables that no migration makes: a backup has none of their rows."""
    return [name for (name,) in _asked(client, _OTHERS, {"known": [*known_tables(), *_OF_MIGRATE]})]


def rows_kept(client: Client) -> int:
    """Return how many rows the tables hold."""
    return sum(rows for _, rows in _asked(client, _TABLES, {"known": known_tables()}))


def check_known(tables: list[TableCopy], ran: dict[int, str]) -> None:
    """Refuse a backup whose tables this release does not know.

    Raises:
        SetupError: a migration that had run is not here, or is another one, or none makes a table.
    """
    ours = {migration.number: migration.checksum for migration in load(MIGRATIONS)}
    for number, checksum in ran.items():
        if ours.get(number) != checksum:
            raise SetupError("migrations", f"number {number} of the backup is not that of this release")
    known = known_tables()
    if unknown := [table.name for table in tables if table.name not in known]:
        raise SetupError(", ".join(unknown), "are no tables of this release")


def restore_tables(
    client: Client, target: Target, directory: Path, tables: list[TableCopy], ran: dict[int, str]
) -> None:
    """Make the schema anew as it was, fill it, and bring it up to date; what was there before is gone.

    Raises:
        UnavailableError: the warehouse stopped answering.
        SetupError: it refused a statement or rows.
    """
    try:
        _drop_all(client)
        migrate(client, target, until=max(ran, default=0))
        for table in tables:
            with (directory / file_of(table.name)).open("rb") as rows:
                client.raw_insert(
                    table.name, table.columns, rows, settings=_AS_THEY_ARE, fmt="Native", compression="zstd"
                )
        migrate(client, target)
    except Error as error:
        raise fault(error) from error


def ran_migrations(client: Client) -> dict[int, str]:
    """Return the checksum of each migration that has run."""
    return {number: migration.checksum for number, migration in applied(client).items()}


def _drop_all(client: Client) -> None:
    """Drop views, then tables."""
    found = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND NOT startsWith(name, '.')"
        " ORDER BY NOT endsWith(engine, 'View')"
    )
    for (name,) in found.result_rows:
        client.command(f"DROP TABLE IF EXISTS `{name}` SYNC", settings={"check_table_dependencies": 0})


def _asked(client: Client, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    try:
        return [tuple(row) for row in client.query(query, parameters=parameters).result_rows]
    except Error as error:
        raise fault(error) from error
