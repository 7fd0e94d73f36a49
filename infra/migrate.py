"""Schema migrations: numbered SQL files, applied once, in order, never edited afterwards.

ClickHouse has no transactions around DDL. A file that failed half-way is run again from its
start, so every statement must bear repeating (`IF NOT EXISTS`, `CREATE OR REPLACE VIEW`).
After the files two things follow that depend on them: how long rows are kept, and what the columns of plain views mean.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from msgspec import Struct

from infra import logs
from infra.clickhouse import Role, connect, fault
from infra.cluster import LOCAL, on_cluster
from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError
from schemas.retention import Retention, Retentions, load_retention

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt16 COMMENT '编号 number of the file',
    name String COMMENT '名称 name of the file',
    checksum String COMMENT '校验和 SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT '执行时间 when, by the server''s clock'
)
ENGINE = ReplacingMergeTree(applied_at) ORDER BY number
COMMENT '已执行的迁移 migrations that have run'
"""
_VIEW_COLUMNS: Final = """
SELECT view, groupArray((name, text))
FROM
(
    SELECT view, name, argMin(comment, distance) AS text
    FROM
    (
        SELECT
            v.table AS view,
            v.name AS name,
            t.comment AS comment,
            multiIf(concat('v_', t.table) = view, 0, startsWith(view, concat(t.table, '_')), 1, 2) AS distance
        FROM system.columns AS v
        INNER JOIN system.columns AS t ON t.database = v.database AND t.name = v.name
        WHERE v.database = currentDatabase() AND startsWith(v.table, 'v_') AND v.comment = '' AND t.comment != ''
    )
    GROUP BY view, name
    HAVING min(distance) < 2 OR uniqExact(comment) = 1
)
GROUP BY view ORDER BY view
"""
_ENGINES: Final = "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"
_PIECE: Final = re.compile(
    r"""'(?:[^'\\]++|\\.|'')*+' | "(?:[^"\\]++|\\.)*+" | `(?:[^`\\]++|\\.)*+`
      | (?P<comment> --[^\n]* | /\*.*?\*/ ) | (?P<end> ; ) | [^'"`;/-]++ | .""",
    re.S | re.X,
)


class Migration(Struct, frozen=True, kw_only=True):
    """One file of the migrations directory."""

    number: int
    name: str
    checksum: str
    statements: tuple[str, ...]


class Applied(Struct, frozen=True, kw_only=True):
    """One migration that ran, or would have, in a dry run."""

    number: int
    name: str
    checksum: str


class Target(Struct, frozen=True, kw_only=True):
    """What the schema is to be."""

    directory: Path = MIGRATIONS
    retention: Retentions = {}
    cluster: str | None = None  # its name in `system.clusters`; None: one server

    def forms(self, statement: str) -> list[str]:
        """Return what *statement* is here."""
        return [statement] if self.cluster is None else on_cluster(statement, self.cluster)


def target_of(settings: Settings) -> Target:
    """Return the schema of this release under *settings*.

    Raises:
        SetupError: the district's retention file is wrong.
    """
    return Target(retention=load_retention(settings.district_dir), cluster=settings.clickhouse_cluster or None)


def migrate(client: Client, target: Target, *, dry_run: bool = False, until: int | None = None) -> list[Applied]:
    """Run what has not run yet, in order, and return it; a dry run changes nothing.

    Args:
        client: of a user who may create tables.
        target: what it is to be.
        dry_run: only tell what would run.
        until: number of the last file to run; all without it.

    Raises:
        SetupError: files and database disagree, or a statement is refused; the text names the file.
        UnavailableError: the warehouse does not answer; run again.
    """
    migrations = load(target.directory)
    pending = [one for one in _pending(migrations, applied(client)) if until is None or one.number <= until]
    if dry_run:
        return [_receipt(migration) for migration in pending]
    if pending:
        _run(client, target, _CREATE.strip(), "schema_migrations")
    for migration in pending:
        _apply(client, target, migration)
    for statement in _retaining(client, target):
        _run(client, target, statement, "retention.toml")
    if pending:
        for statement in _explaining(client):
            _run(client, target, statement, "comments of views")
    return [_receipt(migration) for migration in pending]


def script(client: Client, target: Target) -> str:
    """Return the SQL that `migrate` would run for the files that are pending, in the form of the target.

    Raises:
        SetupError: as `migrate`.
        UnavailableError: as `migrate`.
    """
    pending = _pending(load(target.directory), applied(client))
    parts = []
    for migration in pending:
        statements = [form for statement in migration.statements for form in target.forms(statement)]
        parts.append(f"-- {migration.name}\n" + "".join(f"{statement};\n\n" for statement in statements))
    return "".join(parts)


def load(directory: Path) -> list[Migration]:
    """Read the files of *directory* in order.

    Raises:
        SetupError: a file's name is not `NNNN_name.sql`, or two have one number.
    """
    migrations = [_read(path) for path in sorted(directory.glob("*.sql"))]
    numbers = [migration.number for migration in migrations]
    if len(set(numbers)) < len(numbers):
        raise SetupError("migrations", f"two files in {directory} have the same number")
    return migrations


def _read(path: Path) -> Migration:
    named = _FILE_NAME.fullmatch(path.name)
    if named is None:
        raise SetupError("migrations", f"{path.name} is not named NNNN_name.sql")
    content = path.read_bytes()
    statements = tuple(split(content.decode()))
    return Migration(number=int(named[1]), name=path.name, checksum=sha256(content).hexdigest(), statements=statements)


def split(text: str) -> list[str]:
    """Return the statements of *text*: cut at semicolons outside strings, names and comments; comments dropped."""
    statements, current = [], ""
    for piece in _PIECE.finditer(text):
        if piece.lastgroup == "end":
            statements.append(current.strip())
            current = ""
        elif piece.lastgroup != "comment":
            current += piece[0]
    return [statement for statement in [*statements, current.strip()] if statement]


def _pending(migrations: list[Migration], ran: dict[int, Applied]) -> list[Migration]:
    """Return what is still to run; files and database must tell the same story up to there."""
    known = {migration.number: migration for migration in migrations}
    for number, done in sorted(ran.items()):
        if number not in known:
            raise SetupError(done.name, "was applied to this database, but the file is not here: an older release?")
        if known[number].checksum != done.checksum:
            raise SetupError(done.name, "was changed after it was applied; undo the change and add a new file")
    pending = [migration for migration in migrations if migration.number not in ran]
    if pending and ran and pending[0].number < max(ran):
        raise SetupError(pending[0].name, f"comes before {ran[max(ran)].name}, which is applied already")
    return pending


def applied(client: Client) -> dict[int, Applied]:
    """Return what has run on this database, by number; errors as in `migrate`."""
    try:
        if not client.command("EXISTS TABLE schema_migrations"):
            return {}
        rows = client.query("SELECT number, name, checksum FROM schema_migrations FINAL").result_rows
    except Error as error:
        raise fault(error) from error
    return {number: Applied(number=number, name=name, checksum=checksum) for number, name, checksum in rows}


def _apply(client: Client, target: Target, migration: Migration) -> None:
    for statement in migration.statements:
        _run(client, target, statement, migration.name)
    try:
        row = [migration.number, migration.name, migration.checksum]
        client.insert("schema_migrations", [row], column_names=["number", "name", "checksum"])
    except Error as error:
        raise fault(error) from error
    logs.logger().info("migration_applied", name=migration.name, statements=len(migration.statements))


def _run(client: Client, target: Target, statement: str, name: str) -> None:
    for form in target.forms(statement):
        try:
            client.command(form)
        except Error as error:
            translated = fault(error)
            if isinstance(translated, UnavailableError):
                raise translated from error
            raise SetupError(name, f"{str(error).strip()} in: {form[:200]}") from error


def _retaining(client: Client, target: Target) -> list[str]:
    """Return what changes how long rows are kept; nothing where it is so already."""
    engines = dict(_rows(client, _ENGINES))
    suffix = "" if target.cluster is None else LOCAL
    there = {table: engines[table + suffix] for table in target.retention if table + suffix in engines}
    return [
        statement
        for table, engine in there.items()
        if (statement := retention_change(table, target.retention[table], engine)) is not None
    ]


def retention_change(table: str, retention: Retention, engine: str) -> str | None:
    """Return the statement that gives *table* its retention, or None when its *engine*'s text says that already."""
    if retention.days is None:
        return f"ALTER TABLE {table} REMOVE TTL" if " TTL " in engine else None
    rule = f"TTL toDateTime({retention.time}) + toIntervalDay({retention.days})"
    return None if f"{rule} SETTINGS" in engine or engine.endswith(rule) else f"ALTER TABLE {table} MODIFY {rule}"


def _explaining(client: Client) -> list[str]:
    """Return what lets the columns of views say what they are: a view that selects `*` has no comments of its own.

    A column of `v_x` says what that of `x` says, else what that of the view it is a part of (`v_kpi` of `v_kpi_grid`),
    else what all columns of its name say, if they agree.
    """
    return [
        f"ALTER TABLE {view} " + ", ".join(f"COMMENT COLUMN `{name}` {_quoted(text)}" for name, text in columns)
        for view, columns in _rows(client, _VIEW_COLUMNS)
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _rows(client: Client, query: str) -> Sequence[Any]:
    try:
        return client.query(query).result_rows
    except Error as error:
        raise fault(error) from error


def _receipt(migration: Migration) -> Applied:
    return Applied(number=migration.number, name=migration.name, checksum=migration.checksum)


def migrate_warehouse(settings: Settings) -> list[Applied]:
    """Bring the warehouse of *settings* to this release's schema; errors as in `migrate`."""
    with closing(connect(settings, Role.WRITER)) as client:
        return migrate(client, target_of(settings))
