"""Schema migrations: numbered SQL files, applied once, in order, never edited afterwards.

ClickHouse has no transactions around DDL. A file that failed half-way is run again from its
start, so every statement must bear repeating (`IF NOT EXISTS`, `CREATE OR REPLACE VIEW`).
"""

import re
from hashlib import sha256
from pathlib import Path
from typing import Final

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from msgspec import Struct

from infra import logs
from infra.clickhouse import Role, connect, fault
from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt16 COMMENT '编号 number of the file',
    name String COMMENT '名称 name of the file',
    checksum String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT '执行时间 when, by the server''s clock'
)
ENGINE = ReplacingMergeTree(applied_at) ORDER BY number
COMMENT '已执行的迁移 migrations that have run'
"""
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


def migrate(client: Client, directory: Path, *, dry_run: bool = False, until: int | None = None) -> list[Applied]:
    """Run what has not run yet, in order, and return it; a dry run changes nothing.

    Args:
        client: of a user who may create tables.
        directory: of the files.
        dry_run: only tell what would run.
        until: number of the last file to run; all without it.

    Raises:
        SetupError: files and database disagree, or a statement is refused; the text names the file.
        UnavailableError: the warehouse does not answer; run again.
    """
    migrations = load(directory)
    pending = [one for one in _pending(migrations, applied(client)) if until is None or one.number <= until]
    if dry_run:
        return [_receipt(migration) for migration in pending]
    if pending:
        _command(client, _CREATE, "schema_migrations")
    for migration in pending:
        _apply(client, migration)
    return [_receipt(migration) for migration in pending]


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


def _apply(client: Client, migration: Migration) -> None:
    for statement in migration.statements:
        _command(client, statement, migration.name)
    try:
        row = [migration.number, migration.name, migration.checksum]
        client.insert("schema_migrations", [row], column_names=["number", "name", "checksum"])
    except Error as error:
        raise fault(error) from error
    logs.logger().info("migration_applied", name=migration.name, statements=len(migration.statements))


def _command(client: Client, statement: str, name: str) -> None:
    try:
        client.command(statement)
    except Error as error:
        translated = fault(error)
        if isinstance(translated, UnavailableError):
            raise translated from error
        raise SetupError(name, f"{str(error).strip()} in: {statement[:200]}") from error


def _receipt(migration: Migration) -> Applied:
    return Applied(number=migration.number, name=migration.name, checksum=migration.checksum)


def migrate_warehouse(settings: Settings) -> list[Applied]:
    """Bring the warehouse of *settings* to this release's schema; errors as in `migrate`."""
    client = connect(settings, Role.WRITER)
    try:
        return migrate(client, MIGRATIONS)
    finally:
        client.close()
