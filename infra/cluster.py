"""The same schema on a cluster: each statement of a migration rewritten, the files stay what they are. Pure.

A table becomes two: `x_local`, replicated within its shard, and `x`, distributed over the shards by the first column
of the sorting key. Rows of one identity share that column, so they meet on one shard, where FINAL sees them all. Views
read `x` and are only created everywhere. The writer's profile needs `distributed_foreground_insert = 1` (what is
acknowledged is then on its shard), every profile `distributed_product_mode = 'global'` (subqueries see all shards).
"""

import re
from typing import Final

from schemas.errors import SetupError

LOCAL: Final = "_local"
_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)(.*)", re.S)
_VIEW: Final = re.compile(r"(CREATE OR REPLACE VIEW \w+)(.*)", re.S)
_ALTER: Final = re.compile(r"ALTER TABLE (\w+)(.*)", re.S)
_ENGINE: Final = re.compile(r"\nENGINE = (\w*MergeTree)(?:\(([^)]*)\))?")
_KEY: Final = re.compile(r"\bORDER BY \(?(`?\w+`?)")
_COMMENT: Final = re.compile(r"\nCOMMENT '(?:[^'\\]|\\.|'')*'\s*$")
_TEXT: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'")
_OF_STORAGE: Final = re.compile(r"\b(?:CODEC|TTL|SETTING|PROJECTION)\b")
_OF_COLUMNS: Final = re.compile(r"\b(?:ADD|DROP|RENAME|COMMENT) COLUMN\b")
_REPLICA: Final = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"


def table_made(statement: str) -> str | None:
    """Return the name of the table that *statement* makes, if it makes one."""
    found = _TABLE.fullmatch(statement)
    return found[1] if found else None


def on_cluster(statement: str, cluster: str) -> list[str]:
    """Return what *statement* is on *cluster*, in the order to run it.

    Raises:
        SetupError: the statement has a form that no migration had so far.
    """
    where = f" ON CLUSTER '{cluster}'"
    if (found := _VIEW.fullmatch(statement)) is not None:
        return [f"{found[1]}{where}{found[2]}"]
    if (found := _TABLE.fullmatch(statement)) is not None:
        return _table(found[1], found[2], cluster, where)
    if (found := _ALTER.fullmatch(statement)) is not None:
        return [f"ALTER TABLE {name}{where}{found[2]}" for name in _altered(found[1], found[2])]
    raise SetupError("migrations", f"no cluster form of: {statement[:80]}")


def _table(name: str, rest: str, cluster: str, where: str) -> list[str]:
    engine, key, comment = _ENGINE.search(rest), _KEY.search(rest), _COMMENT.search(rest)
    if engine is None or key is None or comment is None:
        raise SetupError("migrations", f"table {name} has no engine, sorting key or comment")
    version = f", {engine[2]}" if engine[2] else ""
    replicated = f"{rest[: engine.start()]}\nENGINE = Replicated{engine[1]}({_REPLICA}{version}){rest[engine.end() :]}"
    return [
        f"CREATE TABLE IF NOT EXISTS {name}{LOCAL}{where}{replicated}",
        f"CREATE TABLE IF NOT EXISTS {name}{where} AS {name}{LOCAL}\n"
        f"ENGINE = Distributed('{cluster}', currentDatabase(), '{name}{LOCAL}', cityHash64({key[1]})){comment[0]}",
    ]


def _altered(name: str, changes: str) -> tuple[str, ...]:
    """Return which tables a change concerns: how rows are stored is the shard's affair, columns are everybody's."""
    if name.startswith("v_"):
        return (name,)
    words = _TEXT.sub("''", changes)
    of_storage, of_columns = _OF_STORAGE.search(words) is not None, _OF_COLUMNS.search(words) is not None
    if of_storage is of_columns:
        raise SetupError("migrations", f"ALTER TABLE {name} must change either columns or how they are stored")
    return (name + LOCAL,) if of_storage else (name + LOCAL, name)
