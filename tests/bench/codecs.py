"""`python -m tests.bench.codecs`: what each codec makes of the columns that weigh most, on the lake of the query bench.

Prints bytes a row under every candidate, and of other sorting orders; ADR 9 holds what was chosen. Needs no warehouse:
chDB in a directory that goes afterwards.
"""

# ruff: noqa: S608 - tables, columns and codecs are those of this file
import sys
from itertools import takewhile
from tempfile import TemporaryDirectory
from typing import Any, Final

import chdb

from infra.migrate import MIGRATIONS, load
from tests.bench.lake import fill, parameters

_ROWS: Final = 2_000_000
_INTEGERS: Final = ("LZ4", "ZSTD(1)", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)", "T64, ZSTD(1)")
_TEXTS: Final = ("LZ4", "ZSTD(1)", "ZSTD(3)")
_CANDIDATES: Final = {
    "camera_telemetry": {
        "ce_id": _TEXTS,
        "observed_at": _INTEGERS,
        "appended_at": _INTEGERS,
        "`offset`": _INTEGERS,
        "bitrate_bps": _INTEGERS,
        "frame_age_ms": _INTEGERS,
        "fps": ("LZ4", "ZSTD(1)", "Gorilla, ZSTD(1)"),
    },
    "case_events": {
        "ce_id": _TEXTS,
        "event_id": _TEXTS,
        "case_id": _TEXTS,
        "at": _INTEGERS,
        "appended_at": _INTEGERS,
        "due_at": _INTEGERS,
        "`offset`": _INTEGERS,
    },
}
_ORDERS: Final = {
    "camera_telemetry": ("camera_id, observed_at", "observed_at, camera_id", "ce_id"),
    "case_events": ("case_id, number, ce_id", "at, case_id", "grid_id, at"),
    "reports": ("ce_id", "grid_id, received_at", "received_at"),
}


def main() -> None:
    """Fill a lake and print the table."""
    with TemporaryDirectory(prefix="gridwatch-codecs-") as directory:
        engine: Any = chdb.connect(directory)
        engine.query("CREATE DATABASE lake")
        engine.query("USE lake")
        for migration in takewhile(lambda m: "codecs" not in m.name, load(MIGRATIONS)):
            for statement in migration.statements:
                engine.query(statement)
        fill(lambda statement, values: engine.query(statement, params=values), parameters(_ROWS))
        for table, columns in _CANDIDATES.items():
            for column, codecs in columns.items():
                _say(f"{table}.{column}", {codec: _column(engine, table, column, codec) for codec in codecs})
        for table, orders in _ORDERS.items():
            _say(f"{table} ORDER BY", {order: _order(engine, table, order) for order in orders})
        engine.close()


def _say(what: str, bytes_a_row: dict[str, float]) -> None:
    found = ", ".join(f"{name}: {size:.2f}" for name, size in bytes_a_row.items())
    sys.stdout.write(f"{what}: {found}\n")
    sys.stdout.flush()


def _column(engine: Any, table: str, column: str, codec: str) -> float:
    """Return the bytes a row of one column under one codec, in the table's own order."""
    sorting = _one(engine, f"SELECT sorting_key FROM system.tables WHERE database = 'lake' AND name = '{table}'")
    kind = _one(
        engine,
        "SELECT type FROM system.columns WHERE database = 'lake'"
        f" AND table = '{table}' AND name = '{column.strip('`')}'",
    )
    engine.query("DROP TABLE IF EXISTS measured")
    engine.query(
        f"CREATE TABLE measured (v {kind} CODEC({codec})) ENGINE = MergeTree ORDER BY tuple()"
        f" AS SELECT {column} AS v FROM {table} ORDER BY {sorting}"
    )
    return _bytes_a_row(engine)


def _order(engine: Any, table: str, order: str) -> float:
    """Return the bytes a row of the whole table in one order."""
    engine.query("DROP TABLE IF EXISTS measured")
    engine.query(f"CREATE TABLE measured ENGINE = MergeTree ORDER BY ({order}) AS SELECT * FROM {table}")
    return _bytes_a_row(engine)


def _bytes_a_row(engine: Any) -> float:
    engine.query("OPTIMIZE TABLE measured FINAL")
    sums = "sum(data_compressed_bytes) / sum(rows)"
    return float(_one(engine, f"SELECT {sums} FROM system.parts WHERE active AND table = 'measured'"))


def _one(engine: Any, query: str) -> str:
    return str(engine.query(query, "TSVRaw").bytes().decode().strip())


if __name__ == "__main__":
    main()
