"""Migrations on the real warehouse: once, in order, never twice, never edited."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver import Client

from infra.clickhouse import Role, connect
from infra.cluster import on_cluster
from infra.migrate import MIGRATIONS, Target, load, migrate, script, target_of
from infra.settings import Settings
from schemas.errors import SetupError
from schemas.retention import Retention
from tests.warehouse import running_warehouse

_TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
_CHINESE, _ENGLISH = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z]{3}")


@pytest.fixture(scope="module")
def warehouse(settings: Settings) -> Iterator[Settings]:
    """A running warehouse."""
    with running_warehouse(settings):
        yield settings


@pytest.fixture
def client(warehouse: Settings) -> Iterator[Client]:
    """A writer on a database without tables."""
    writer = connect(warehouse, Role.WRITER)
    names = writer.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()").result_rows
    for name, engine in names:
        writer.command(f"DROP {'VIEW' if engine == 'View' else 'TABLE'} `{name}` SYNC")
    yield writer
    writer.close()


def _write(directory: Path, **files: str) -> Target:
    for name, text in files.items():
        (directory / f"{name[1:]}.sql").write_text(text)
    return Target(directory=directory)


def test_what_ran_does_not_run_again(client: Client, tmp_path: Path) -> None:
    """Each run applies only what is new, in order of number."""
    _write(tmp_path, _0001_a="CREATE TABLE a (x Int8) ENGINE = MergeTree ORDER BY x; INSERT INTO a VALUES (1)")
    first = migrate(client, Target(directory=tmp_path))
    _write(tmp_path, _0002_b="INSERT INTO a VALUES (2); INSERT INTO a VALUES (3)")
    second = migrate(client, Target(directory=tmp_path))

    assert [[done.name for done in run] for run in (first, second)] == [["0001_a.sql"], ["0002_b.sql"]]
    assert client.command("SELECT groupArray(x) FROM (SELECT x FROM a ORDER BY x)") == "[1,2,3]"
    assert migrate(client, Target(directory=tmp_path)) == []


def test_a_dry_run_says_what_would_happen_and_does_nothing(client: Client, tmp_path: Path) -> None:
    """Not even the table of migrations is made."""
    _write(tmp_path, _0001_a="CREATE TABLE a (x Int8) ENGINE = MergeTree ORDER BY x")

    assert [would.name for would in migrate(client, Target(directory=tmp_path), dry_run=True)] == ["0001_a.sql"]
    assert client.query("SHOW TABLES").result_rows == []


def test_an_applied_file_that_changed_is_refused(client: Client, tmp_path: Path) -> None:
    """Two databases with the same list of migrations have the same tables."""
    migrate(client, _write(tmp_path, _0001_a="CREATE TABLE a (x Int8) ENGINE = MergeTree ORDER BY x"))
    _write(tmp_path, _0001_a="CREATE TABLE a (x Int16) ENGINE = MergeTree ORDER BY x")

    with pytest.raises(SetupError, match=r"0001_a\.sql: was changed"):
        migrate(client, Target(directory=tmp_path))


def test_an_older_release_does_not_touch_a_newer_database(client: Client, tmp_path: Path) -> None:
    """A file that is applied but not here belongs to a release we know nothing of."""
    migrate(client, _write(tmp_path, _0001_a="SELECT 1", _0002_b="SELECT 1"))
    (tmp_path / "0002_b.sql").unlink()

    with pytest.raises(SetupError, match=r"0002_b\.sql"):
        migrate(client, Target(directory=tmp_path))


def test_a_file_that_comes_late_is_refused(client: Client, tmp_path: Path) -> None:
    """A new file before an applied one would make the order differ between databases."""
    migrate(client, _write(tmp_path, _0002_b="SELECT 1"))

    with pytest.raises(SetupError, match=r"0001_a\.sql: comes before"):
        migrate(client, _write(tmp_path, _0001_a="SELECT 1"))


def test_a_refused_statement_is_named_and_its_file_runs_again_once_mended(client: Client, tmp_path: Path) -> None:
    """What failed half-way is not recorded as applied."""
    create = "CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = MergeTree ORDER BY x; "
    with pytest.raises(SetupError, match=r"0001_a\.sql: .*nowhere"):
        migrate(client, _write(tmp_path, _0001_a=create + "DROP TABLE nowhere"))

    assert migrate(client, _write(tmp_path, _0001_a=create + "TRUNCATE TABLE a")) != []


def test_the_sql_of_a_dry_run_is_what_would_run(client: Client, tmp_path: Path) -> None:
    """Who may not let a program change a schema gets the statements, and may run them."""
    target = _write(tmp_path, _0001_a="-- why\nCREATE TABLE a (x Int8) ENGINE = MergeTree ORDER BY x; SELECT 1;")

    assert script(client, target) == (
        "-- 0001_a.sql\nCREATE TABLE a (x Int8) ENGINE = MergeTree ORDER BY x;\n\nSELECT 1;\n\n"
    )
    assert client.query("SHOW TABLES").result_rows == []


def test_every_table_and_column_of_the_shipped_schema_is_explained_in_both_languages(
    client: Client, warehouse: Settings
) -> None:
    """An analyst finds Chinese and English where they look: in the client's own schema browser."""
    migrate(client, target_of(warehouse))

    explained = client.query(
        "SELECT name, comment FROM system.tables WHERE database = currentDatabase()"
        " UNION ALL SELECT table || '.' || name, comment FROM system.columns WHERE database = currentDatabase()"
    ).result_rows
    assert len(explained) > 500
    assert [name for name, text in explained if not (_CHINESE.search(text) and _ENGLISH.search(text))] == []


def test_rows_are_kept_as_long_as_the_district_says(client: Client, warehouse: Settings) -> None:
    """Every table has its line in one file; what the file says is in force after the next run; no run changes more."""
    target = target_of(warehouse)
    migrate(client, target)
    tables = {str(name) for (name,) in client.query(_TABLES).result_rows}
    rolled_up = {name for name in tables if name.startswith("r_")}
    assert tables - rolled_up - {"schema_migrations", "rollups", "grids"} <= set(target.retention)
    assert _ttl(client, "camera_telemetry") == "toDateTime(observed_at) + toIntervalDay(90)"
    assert _ttl(client, "case_events") is None

    kept = {"camera_telemetry": Retention(time="observed_at"), "case_events": Retention(time="at", days=30)}
    migrate(client, Target(retention=target.retention | kept))

    assert _ttl(client, "camera_telemetry") is None
    assert _ttl(client, "case_events") == "toDateTime(at) + toIntervalDay(30)"
    changed = client.query("SELECT max(metadata_modification_time) FROM system.tables").result_rows
    migrate(client, Target(retention=target.retention | kept))
    assert client.query("SELECT max(metadata_modification_time) FROM system.tables").result_rows == changed


def test_the_cluster_form_of_every_statement_is_parsed_by_the_engine(client: Client) -> None:
    """There is no Keeper here to run it with; the engine's own parser reads each."""
    statements = [form for m in load(MIGRATIONS) for s in m.statements for form in on_cluster(s, "district")]

    assert len(statements) > 50
    for statement in statements:
        text = statement.replace("\\", "\\\\").replace("'", "\\'")
        answer = client.command(f"SELECT formatQuery('{text}')")
        assert "ON CLUSTER district" in answer, statement


def _ttl(client: Client, table: str) -> str | None:
    [[engine]] = client.query("SELECT engine_full FROM system.tables WHERE name = {t:String}", {"t": table}).result_rows
    found = re.search(r" TTL (.*?)(?: SETTINGS|$)", engine)
    return found[1] if found else None
