# ruff: noqa: S608 - the table names in these statements are the tests' own
"""The embedded warehouse as its clients meet it: clickhouse-connect and plain HTTP, one process, one directory."""

import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import psutil
import pyarrow as pa
import pytest
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.local.ports import free_port
from infra.local.warehouse.engine import open_engine
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, SetupError
from tests.conftest import ROOT, environment, eventually, process

NOON = datetime(2026, 3, 4, 12, 0, 0, 123000, tzinfo=UTC)
ENDLESS = "SELECT count() FROM numbers(100000000000000)"
SECRET = "unguessable-content-of-a-file"


def is_up(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.clickhouse_url}/ping", timeout=1).text == "Ok.\n"
    except httpx.TransportError:
        return False


@contextmanager
def running_warehouse(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The warehouse process of *settings*, answering."""
    log = settings.data_dir / "warehouse.out"
    with process("infra.local.warehouse", settings, log=log) as child:

        def ready() -> bool:
            assert child.poll() is None, log.read_text()
            return is_up(settings)

        eventually(ready, within_s=30, what="the warehouse answers")
        yield child


@pytest.fixture(scope="module")
def warehouse(settings: Settings) -> Iterator[Settings]:
    with running_warehouse(settings):
        yield settings


def connected(settings: Settings, user: str, password: str, **more: Any) -> Client:
    return clickhouse_connect.get_client(
        host=settings.clickhouse_host, port=settings.clickhouse_port, username=user, password=password, **more
    )


@pytest.fixture
def writer(warehouse: Settings) -> Iterator[Client]:
    with connected(warehouse, "gridwatch", "gridwatch", database="lake") as client:
        yield client


@pytest.fixture
def reader(warehouse: Settings) -> Iterator[Client]:
    with connected(warehouse, "analyst", "analyst", database="lake") as client:
        yield client


@pytest.fixture
def http(warehouse: Settings) -> Iterator[httpx.Client]:
    """What curl would send, as the writer."""
    with httpx.Client(
        base_url=warehouse.clickhouse_url,
        auth=("gridwatch", "gridwatch"),
        timeout=20,
        headers={"Accept-Encoding": "identity"},
    ) as client:
        yield client


@pytest.fixture
def table(writer: Client, request: pytest.FixtureRequest) -> str:
    name = f"t_{abs(hash(request.node.name))}"
    writer.command(f"CREATE TABLE {name} (a UInt64, s String, at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY a")
    return name


# --- clickhouse-connect ---------------------------------------------------------------------------------------


def test_rows_go_in_and_come_back(writer: Client, reader: Client, table: str) -> None:
    """Python rows round-trip with Chinese text and milliseconds; the insert tells how many it wrote."""
    rows = [[1, "网格", NOON], [2, "it's \\ \n", NOON]]

    written = writer.insert(table, rows, column_names=["a", "s", "at"]).written_rows

    assert written == 2
    found = reader.query(f"SELECT a, s, toUnixTimestamp64Milli(at) FROM {table} ORDER BY a").result_rows
    assert found == [(a, s, int(at.timestamp() * 1000)) for a, s, at in rows]


@pytest.mark.parametrize("compression", [False, "lz4", "zstd", "gzip"])
def test_a_large_table_goes_both_ways_in_arrow(warehouse: Settings, table: str, compression: str | bool) -> None:
    """300,000 rows cross in every compression, whole and streamed, none twice and none lost."""
    count = 300_000
    rows = pa.table({"a": pa.array(range(count), pa.uint64()), "s": ["x" * 20] * count, "at": [NOON] * count})
    with connected(warehouse, "gridwatch", "gridwatch", database="lake", compress=compression) as client:
        client.insert_arrow(table, rows)
        with client.query_arrow_stream(f"SELECT a FROM {table}") as stream:
            streamed = [n for part in stream for n in part.column(0).to_pylist()]
        with client.query_row_block_stream(f"SELECT a FROM {table}") as blocks:
            natively = sum(row[0] for block in blocks for row in block)

        assert client.query_arrow(f"SELECT a FROM {table} ORDER BY a")["a"].to_pylist() == list(range(count))

    assert sorted(streamed) == list(range(count))
    assert natively == count * (count - 1) // 2


def test_data_frames_go_both_ways(writer: Client, table: str) -> None:
    """What analysts use in notebooks."""
    frame = pa.table({"a": pa.array([1, 2], pa.uint64()), "s": ["甲", "乙"], "at": [NOON, NOON]}).to_pandas()

    writer.insert_df(table, frame)

    assert writer.query_df(f"SELECT a, s FROM {table} ORDER BY a")["s"].tolist() == ["甲", "乙"]


def test_parameters_are_bound_by_the_engine(reader: Client) -> None:
    """Quotes and backslashes in a value stay in the value."""
    value = "it's \\' OR 1 --"

    rows = reader.query("SELECT {s:String}, {n:UInt8} + 1", parameters={"s": value, "n": 41}).result_rows

    assert rows == [(value, 42)]


def test_a_session_remembers_and_another_does_not(writer: Client, reader: Client, warehouse: Settings) -> None:
    """SET and temporary tables last for the session; a setting of one request lasts for that request."""
    writer.command("SET max_threads = 3")
    writer.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    writer.insert("mine", [[7]], column_names=["a"])
    with_setting = writer.query("SELECT getSetting('max_threads')", settings={"max_threads": 1}).result_rows
    after = writer.query("SELECT a, getSetting('max_threads') FROM mine").result_rows

    assert (with_setting, after) == ([(1,)], [(7, 3)])
    with connected(warehouse, "gridwatch", "gridwatch", database="lake") as other, pytest.raises(DatabaseError):
        other.query("SELECT * FROM mine")


def test_a_session_serves_one_request_at_a_time(http: httpx.Client) -> None:
    """While a session's query runs, its next one waits a second and is told that it is locked."""
    with http.stream("POST", "/?session_id=one", content="SELECT number FROM numbers(100000000000)") as running:
        parts = running.iter_raw()
        next(parts)
        second = http.post("/?session_id=one", content="SELECT 1")

    assert second.headers["x-clickhouse-exception-code"] == "373"


def test_an_empty_result_still_has_its_columns(reader: Client) -> None:
    """A table without rows keeps its schema in Arrow and its header in CSV."""
    assert reader.query_arrow("SELECT 1 AS a WHERE 0").column_names == ["a"]
    assert reader.raw_query("SELECT 1 AS a WHERE 0", fmt="CSVWithNames") == b'"a"\n'
    assert reader.query("SELECT 1 AS a WHERE 0").result_rows == []


def test_grafanas_client_is_told_to_read_plain_blocks(http: httpx.Client, warehouse: Settings) -> None:
    """clickhouse-go's first question is answered in the framing of a revision, with revision 0; only to a user."""
    asked = {"default_format": "Native", "client_protocol_version": "54460"}
    question = "SELECT displayName(), version(), revision(), timezone()"
    version, zone = http.post("/", content="SELECT version(), timezone() FORMAT TSV").text.split()

    block = http.post("/", params=asked, content=question).content

    info, columns = b"\x01\x00\x02\xff\xff\xff\xff\x00", b"\x04\x01"
    assert block.startswith(info + columns)
    values = {"displayName": "warehouse", "version": version, "timezone": zone}
    for name, value in values.items():
        column = f"{name}()".encode()
        assert bytes([len(column)]) + column + b"\x06String\x00" + bytes([len(value)]) + value.encode() in block
    assert b"\x0arevision()\x06UInt32\x00" + bytes(4) in block
    stranger = httpx.post(warehouse.clickhouse_url, params=asked, content=question, auth=("gridwatch", "wrong"))
    assert stranger.headers["x-clickhouse-exception-code"] == "516"
    assert http.post("/", params=asked | {"default_format": "TSV"}, content="SELECT 1").text == "1\n"


def test_an_answer_is_the_end_of_a_request(http: httpx.Client, warehouse: Settings) -> None:
    """Nobody is taken for gone who has had the whole answer, be it streamed, held or empty."""
    log = warehouse.data_dir / "warehouse.out"
    before = log.read_bytes().count(b"warehouse_client_gone")
    for text in ("SELECT 1", "SELECT 1 FORMAT JSON", "SELECT number FROM numbers(200000)", "SELECT 1 WHERE 0"):
        assert http.post("/", content=text).status_code == 200
    assert http.post("/", content="SELECT 1").text == "1\n"  # those before have been tidied away
    assert log.read_bytes().count(b"warehouse_client_gone") == before


def test_what_one_request_is_told_no_other_hears(warehouse: Settings, http: httpx.Client) -> None:
    """Connections serve again: settings, database, the right to write and an error before leave nothing behind."""
    setting = {"query": "SELECT getSetting('max_block_size')"}
    mine = [http.post("/", params=setting | {"max_block_size": "1234"}).text for _ in range(3)]
    assert mine == ["1234\n"] * 3
    assert http.post("/", params=setting).text != "1234\n"

    asked = {"query": "SELECT currentDatabase()"}
    assert http.post("/", params=asked | {"database": "system"}).text == "system\n"
    assert http.post("/", params=asked).text == "lake\n"

    assert http.get("/", params={"query": "SELECT getSetting('readonly')"}).text == "2\n"
    assert http.post("/", params={"query": "SELECT getSetting('readonly')"}).text == "0\n"
    with httpx.Client(base_url=warehouse.clickhouse_url, auth=("analyst", "analyst")) as analyst:
        assert analyst.post("/", params={"query": "SELECT getSetting('readonly')"}).text == "2\n"

    assert http.post("/", content="SET max_block_size = 77").status_code == 200
    assert http.post("/", params={"query": "SELECT throwIf(1)"}).status_code != 200
    assert http.post("/", params={"query": "CREATE TEMPORARY TABLE passing (n UInt8)"}).status_code == 200
    assert http.post("/", params=setting).text not in {"77\n", "1234\n"}
    replacing = "CREATE OR REPLACE TEMPORARY TABLE passing (n UInt8)"
    assert http.post("/", params={"query": replacing}).status_code in {200, 400, 500}  # whatever the engine makes of it
    assert "UNKNOWN_TABLE" in http.post("/", params={"query": "SELECT * FROM passing"}).text

    few = {"query": "SELECT number FROM numbers(1000) WHERE number > {least:UInt32} FORMAT CSVWithNames"}
    bounded = few | {"max_result_bytes": "1000"}
    assert (
        http.post("/", params=bounded | {"param_least": "1000"}).text == '"number"\n'
    )  # empty: asked for again, whole
    assert "TOO_MANY_ROWS_OR_BYTES" in http.post("/", params=bounded | {"param_least": "1"}).text


def test_a_readers_session_may_not_write_whatever_it_sets(warehouse: Settings, table: str) -> None:
    """Not even with a setting that changes how answers look."""
    beside = {"session_id": "mine", "output_format_tsv_crlf_end_of_line": "1", "wait_end_of_query": "1"}
    with httpx.Client(base_url=warehouse.clickhouse_url, auth=("analyst", "analyst")) as analyst:
        assert analyst.post("/", params=beside, content="SET max_threads = 1").status_code == 200
        insert = f"WITH 1 AS a INSERT INTO {table} SELECT a, 'x', now()"
        refused = analyst.post("/", params=beside, content=insert)
        assert refused.headers["x-clickhouse-exception-code"] == "164"
        assert analyst.post("/", params=beside, content=f"SELECT count() FROM {table}").text.strip() == "0"


def test_errors_carry_the_engines_code(reader: Client) -> None:
    """An unknown table is code 60, as on any ClickHouse."""
    with pytest.raises(DatabaseError, match="code: 60"):
        reader.query("SELECT * FROM nowhere")


# --- plain HTTP -----------------------------------------------------------------------------------------------


def test_a_statement_may_come_in_the_address_or_the_body(http: httpx.Client) -> None:
    """GET and POST, FORMAT and default_format."""
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert http.post("/", content="SELECT 1 AS a FORMAT JSONEachRow").json() == {"a": 1}
    assert http.post("/", params={"default_format": "CSVWithNames"}, content="SELECT 1 AS a").text == '"a"\n1\n'
    assert http.post("/", params={"query": "SELECT", "param_n": "5"}, content="{n:UInt8}").text == "5\n"


def test_users_prove_themselves_by_header_or_basic_authentication(warehouse: Settings) -> None:
    """Without a known name and its password there is only /ping."""
    url, query = warehouse.clickhouse_url, {"query": "SELECT 1"}
    named = {"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "analyst"}

    assert httpx.get(url, params=query, headers=named).text == "1\n"
    assert httpx.get(url, params=query, auth=("analyst", "analyst")).text == "1\n"
    for wrong in (
        {},
        {"X-ClickHouse-User": "analyst"},
        {"X-ClickHouse-User": "default"},
        named | {"Authorization": "Basic ?"},
    ):
        refused = httpx.get(url, params=query, headers=wrong)
        assert (refused.status_code, refused.headers["x-clickhouse-exception-code"]) == (403, "516")


def test_get_changes_nothing(http: httpx.Client, table: str) -> None:
    """A link cannot drop a table, whoever follows it."""
    dropped = http.get("/", params={"query": f"DROP TABLE {table}"})
    insert = f"WITH 1 AS x INSERT INTO {table} SELECT x, '', now()"
    hidden = http.get("/", params={"query": insert, "wait_end_of_query": "1"})
    assert http.post("/", params={"session_id": "mine"}, content="SET max_threads = 1").status_code == 200
    in_session = http.get("/", params={"query": insert, "session_id": "mine"})

    refused = [answer.headers["x-clickhouse-exception-code"] for answer in (dropped, hidden, in_session)]
    assert refused == ["164", "164", "164"]


def test_an_error_in_mid_stream_breaks_the_body(http: httpx.Client) -> None:
    """The text ends in the marked exception, and the missing last chunk tells clients that it is no success."""
    received: list[bytes] = []
    query = "SELECT throwIf(number = 3000000), number FROM numbers(4000000)"
    with http.stream("POST", "/", content=query) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(answer.iter_raw())

    tag = answer.headers["x-clickhouse-exception-tag"]
    assert f"__exception__\r\n{tag}\r\nCode: 395".encode() in b"".join(received)[-1000:]


@pytest.mark.parametrize("rows", [b'1,a,2026-01-01\n"', b"not a number\n"])
def test_a_broken_insert_leaves_no_rows(http: httpx.Client, writer: Client, table: str, rows: bytes) -> None:
    """A body that ends in the middle of a row is refused whole."""
    answer = http.post("/", params={"query": f"INSERT INTO {table} FORMAT CSV"}, content=rows)

    assert answer.status_code >= 400
    assert writer.query(f"SELECT count() FROM {table}").result_rows == [(0,)]


def test_a_long_statement_is_refused_and_a_long_insert_is_not(http: httpx.Client, writer: Client, table: str) -> None:
    """Statements have 1 MiB; rows are streamed and may be many."""
    too_long = http.post("/", content=b"SELECT '" + b"x" * (2 << 20) + b"'")
    rows = b"".join(b"%d,%s,2026-01-01 00:00:00\n" % (n, b"y" * 100) for n in range(50_000))
    inserted = http.post("/", content=f"INSERT INTO {table} FORMAT CSV\n".encode() + rows)

    assert (too_long.status_code, inserted.status_code) == (413, 200)
    assert json.loads(inserted.headers["x-clickhouse-summary"])["written_rows"] == "50000"


def asked_by_hand(settings: Settings, text: str, path: str = "/") -> socket.socket:
    """A connection over which the analyst has asked *text*, the answer unread."""
    client = socket.create_connection((settings.clickhouse_host, settings.clickhouse_port))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: analyst\r\nX-ClickHouse-Key: analyst\r\n"
    client.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
    return client


def running(writer: Client, text: str) -> int:
    rows = writer.query(
        "SELECT count() FROM system.processes WHERE startsWith(query, {q:String})", parameters={"q": text}
    )
    return int(rows.result_rows[0][0])


@pytest.mark.parametrize("text", [ENDLESS, "SELECT number FROM numbers(100000000000001)", f"{ENDLESS} FORMAT JSON"])
def test_a_query_dies_with_its_client(warehouse: Settings, writer: Client, text: str) -> None:
    """Whether it computes, streams or would be sent whole, nothing goes on for a client that has left."""
    client = asked_by_hand(warehouse, text)
    eventually(lambda: running(writer, text) == 1, within_s=10, what="the query runs")

    client.close()

    eventually(lambda: running(writer, text) == 0, within_s=10, what="the query is gone")


@pytest.mark.parametrize("session", ["", "?session_id=left"])
def test_clients_that_leave_at_once_leave_nothing(warehouse: Settings, writer: Client, session: str) -> None:
    """However early a client goes, before its place, its connection or its first block, its query is not left behind.

    A cancellation lost on the way kept an endless query and its place for ever.
    """
    for n in range(20):
        text = f"SELECT number FROM numbers({10**14 + 100 + n})"
        client = asked_by_hand(warehouse, text, path=f"/{session}")
        select.select([client], [], [], n / 1000)
        client.close()

    eventually(
        lambda: running(writer, "SELECT number FROM numbers(1000000000001") == 0, within_s=20, what="all are gone"
    )


def test_readers_do_not_keep_writers_waiting(warehouse: Settings, writer: Client, table: str) -> None:
    """Every reader's place taken by an endless query, an insert still goes in at once."""
    busy = [httpx.Client(base_url=warehouse.clickhouse_url, auth=("analyst", "analyst")) for _ in range(4)]
    endless = "SELECT number FROM numbers(100000000000002)"
    streams = [client.stream("POST", "/", content=endless) for client in busy]
    opened = [stream.__enter__() for stream in streams]
    try:
        assert [answer.status_code for answer in opened] == [200] * 4
        assert writer.insert(table, [[1, "", NOON]], column_names=["a", "s", "at"]).written_rows == 1
    finally:
        for stream, client in zip(streams, busy, strict=True):
            stream.__exit__(None, None, None)
            client.close()


# --- nothing leaves the machine -------------------------------------------------------------------------------

ATTEMPTS = [
    "SELECT file('{file}')",
    "SELECT FILE ( '{file}' )",
    "SELECT `file`('{file}')",
    'SELECT "file"(\'{file}\')',
    r"SELECT `fi\x6ce`('{file}')",
    "SELECT /* */ file /* */ ('{file}')",
    "EXPLAIN SELECT file('{file}')",
    "(SELECT file('{file}'))",
    "FROM system.one SELECT file('{file}')",
    "SELECT arrayMap(file, ['{file}'])",
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT * FROM file('{file}', 'LineAsString')",
    "DESCRIBE file('{file}')",
    "SELECT * FROM default.`{file}`",
    "SELECT * FROM filesystem('{file}')",
    "SELECT * FROM eval('SELECT file(\\'{file}\\')') SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT * FROM format(Values, 'a String', '(file(\\'{file}\\'))')",
    "SELECT 1 SETTINGS additional_result_filter = 'startsWith(file(\\'{file}\\'), \\'u\\')'",
    "SELECT 1 SETTINGS additional_table_filters = {{'system.one': 'startsWith(file(\\'{file}\\'), \\'u\\')'}}",
    "SELECT 1 SETTINGS filter = 'startsWith(file(\\'{file}\\'), \\'u\\')'",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{file}'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'",
    "SELECT 1 AS a FORMAT Protobuf SETTINGS format_schema = '{file}:X'",
    "SELECT 1 SETTINGS dialect = 'prql'",
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 AS a FORMAT JSON SETTINGS output_format_schema = '{out}'",
    "SELECT * FROM python(engine)",
    "SELECT * FROM executable('cat', 'TSV', 'a String')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM icebergLocal('{file}')",
    "SELECT * FROM url('{url}', 'LineAsString')",
    "DESCRIBE url('{url}', 'LineAsString')",
    "SELECT * FROM s3('{url}bucket/key', 'CSV', 'a String')",
    "SELECT * FROM remote('{host}', 'system.one')",
    "SELECT * FROM mysql('{host}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('{host}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('{host}', 'd', 't', 'u', 'p', 'a String')",
    "SELECT * FROM redis('{host}', 'k', 'k String')",
    "SELECT * FROM format(AvroConfluent, 'a') SETTINGS format_avro_schema_registry_url = '{url}'",
    "SELECT aiGenerate('x')",
    "INSERT INTO FUNCTION file('{out}', 'CSV', 'a Int8') VALUES (1)",
    "INSERT INTO FUNCTION url('{url}', 'CSV', 'a Int8') SELECT 1",
    "INSERT INTO lake.attempts FROM INFILE '{file}' FORMAT LineAsString",
    "INSERT INTO lake.attempts VALUES (file('{file}'))",
    "INSERT INTO lake.attempts SELECT file('{file}')",
    "INSERT INTO lake.attempts SETTINGS input_format_record_errors_file_path = '{out}', "
    "input_format_allow_errors_num = 9 FORMAT JSONEachRow x",
    "CREATE TABLE lake.x (a String) ENGINE = File('CSV', '{file}')",
    "CREATE TABLE lake.x (a String) ENGINE = URL('{url}', 'CSV')",
    "CREATE TABLE lake.x (a String) ENGINE = S3('{url}bucket/key', 'CSV')",
    "CREATE TABLE lake.x (a String) ENGINE = Kafka('{host}', 't', 'g', 'CSV')",
    "CREATE TABLE lake.x (a String) ENGINE = FileLog('{file}', 'LineAsString')",
    "CREATE TABLE lake.x (a String) ENGINE = SQLite('{file}', 't')",
    "CREATE TABLE lake.x (a String) ENGINE = Executable('cat', 'TSV')",
    "CREATE TABLE lake.x (a String) ENGINE = EmbeddedRocksDB(0, '{out}') PRIMARY KEY a",
    "CREATE TABLE lake.x (query String) ENGINE = QueryRunner",
    "CREATE TABLE lake.x AS url('{url}', 'LineAsString')",
    "CREATE TABLE lake.x (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{out}')",
    "CREATE VIEW lake.x AS SELECT file('{file}')",
    "CREATE DATABASE x ENGINE = Filesystem('{file}')",
    "CREATE DICTIONARY lake.x (a String) PRIMARY KEY a SOURCE(HTTP(URL '{url}' FORMAT CSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE FUNCTION f AS (x) -> file(x)",
    "BACKUP TABLE lake.attempts TO File('{out}')",
    "SYSTEM RELOAD CONFIG",
]  # fmt: skip


class Outside:
    """A file nobody may read, a path nobody may write, a port nobody may reach."""

    def __init__(self, directory: Path) -> None:
        self.file, self.out = directory / "secret.txt", directory / "out"
        self.file.write_text(SECRET)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def aimed(self, attempt: str) -> str:
        return attempt.format(file=self.file, out=self.out, host=self.host, url=f"http://{self.host}/")

    def was_called(self) -> bool:
        with suppress(BlockingIOError):
            self.listener.accept()
            return True
        return False


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, warehouse: Settings) -> Iterator[Outside]:
    with connected(warehouse, "gridwatch", "gridwatch", database="lake") as client:
        client.command("CREATE TABLE attempts (a String) ENGINE = MergeTree ORDER BY a")
    outside = Outside(tmp_path_factory.mktemp("outside"))
    yield outside
    outside.listener.close()


@pytest.mark.parametrize("user", ["gridwatch", "analyst"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_sql_reaches_no_file_and_no_network(warehouse: Settings, outside: Outside, user: str, attempt: str) -> None:
    """Every way out that we know of is refused to the writer too; nothing is read, written or called."""
    answer = httpx.post(warehouse.clickhouse_url, auth=(user, user), content=outside.aimed(attempt), timeout=10)

    assert answer.status_code >= 400, answer.text
    assert SECRET not in answer.text
    assert not outside.out.exists()
    assert not outside.was_called()


def test_the_attempts_would_get_out_of_an_open_engine(outside: Outside) -> None:
    """The table above proves something: a stock engine reads the file by scalar, by function and by database."""
    reads = [
        "SELECT file('{file}')",
        "SELECT * FROM file('{file}', 'LineAsString')",
        "SELECT arrayMap(file, ['{file}'])",
    ]
    script = "import chdb, sys; print(*(chdb.query(q, 'TSV') for q in sys.argv[1:]))"
    stock = subprocess.run(
        [sys.executable, "-c", script, *map(outside.aimed, reads)], capture_output=True, text=True, check=True
    )

    assert stock.stdout.count(SECRET) == len(reads)


CAGED = """
import sys
from pathlib import Path
from infra.local.warehouse.confine import confine
directory, *attempts = sys.argv[1:]
print(confine(Path(directory)))
import chdb
with chdb.connect(f"{directory}/engine") as connection:
    for attempt in [*attempts, "SELECT 'still here'"]:
        try:
            print(connection.query(attempt, "TSV"))
        except RuntimeError as error:
            print("refused", "errno: 13" in str(error) or "Permission denied" in str(error))
"""


def test_the_process_is_caged_whatever_sql_may_say(outside: Outside, tmp_path: Path) -> None:
    """An engine without any grant or check finds no file, no network and no environment behind the kernel's wall.

    A kernel that has no such wall (before Linux 5.13) leaves it at the other two, and the process says so.
    """
    ways = [
        "SELECT file('{file}')",
        "SELECT * FROM file('{file}', 'LineAsString')",
        "SELECT file('/proc/self/environ')",
        "INSERT INTO FUNCTION file('{out}', 'CSV', 'a Int8') VALUES (1)",
        "SELECT * FROM url('{url}', 'LineAsString', 'a String') SETTINGS http_max_tries = 1",
    ]
    caged = subprocess.run(
        [sys.executable, "-c", CAGED, tmp_path / "warehouse", *map(outside.aimed, ways)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    by, *lines = caged.stdout.split("\n", 1)

    got_out = SECRET in caged.stdout or outside.out.exists() or outside.was_called()
    outside.out.unlink(missing_ok=True)
    assert got_out is (by == "None")
    assert "still here" in lines[0]
    if by != "None":
        assert lines[0].count("refused True") == len(ways)


@pytest.mark.parametrize("name", ["file", "lake.file"])
def test_a_parameter_does_not_smuggle_a_name(http: httpx.Client, outside: Outside, name: str) -> None:
    """`{f:Identifier}` bound to a refused function is refused, also when SET binds it first."""
    query = outside.aimed("SELECT arrayMap({{f:Identifier}}, ['{file}'])")

    bound = http.post("/", params={"param_f": name}, content=query)
    session = http.post("/?session_id=smuggle", content=f"SET param_f = '{name}'")

    assert (bound.status_code, session.status_code) == (403, 403)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("additional_result_filter", "1"),
        ("dialect", "kusto"),
        ("format_template_row", "x"),
        ("max_memory_usage", "9" * 11),
    ],
)
def test_settings_beside_the_statement_are_held_to_the_same(http: httpx.Client, name: str, value: str) -> None:
    """A parameter of the address is no way around a fixed setting."""
    answer = http.post("/", params={name: value}, content="SELECT 1")

    assert answer.headers["x-clickhouse-exception-code"] == "452"


READ_ONLY = [
    "CREATE TABLE lake.x (a Int8) ENGINE = MergeTree ORDER BY a", "DROP TABLE lake.attempts", "TRUNCATE lake.attempts",
    "INSERT INTO lake.attempts VALUES ('a')", "INSERT INTO lake.attempts SELECT 'a'", "KILL QUERY WHERE 1",
    "WITH 'a' AS a INSERT INTO lake.attempts SELECT a", "ALTER TABLE lake.attempts DELETE WHERE 1", "SET readonly = 0",
    "SELECT 1 SETTINGS readonly = 0", "SYSTEM STOP MERGES", "OPTIMIZE TABLE lake.attempts", "DROP DATABASE lake",
    "SELECT 1 SETTINGS max_memory_usage = 90000000000", "SELECT 1 SETTINGS log_comment = 'x'",
]  # fmt: skip


@pytest.mark.parametrize("statement", READ_ONLY)
def test_a_reader_changes_nothing(warehouse: Settings, outside: Outside, statement: str) -> None:
    """Neither data nor limits."""
    answer = httpx.post(warehouse.clickhouse_url, auth=("analyst", "analyst"), content=statement)

    assert answer.status_code >= 400, answer.text


# --- the process ----------------------------------------------------------------------------------------------


def test_one_process_owns_a_directory(warehouse: Settings) -> None:
    """A second one says in a line who holds it, and exits 78."""
    settings = Settings(data_dir=warehouse.data_dir, clickhouse_port=0)
    second = subprocess.run(
        [sys.executable, "-m", "infra.local.warehouse"],
        env=environment(settings) | {"GRIDWATCH_LOG": "json"},
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    said = json.loads(second.stderr)
    assert second.returncode == EXIT_SETUP
    assert "holds" in said["reason"]
    assert str(owner_of(warehouse)) in said["reason"]


def owner_of(settings: Settings) -> int:
    return int((settings.data_dir / "warehouse" / "owner.lock").read_text())


def listeners(pid: int) -> set[str]:
    """Addresses on which *pid* listens, read from the kernel."""
    return {f"{c.laddr.ip}:{c.laddr.port}" for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"}


def test_it_listens_on_the_one_address_given(warehouse: Settings) -> None:
    """The engine opens no port of its own."""
    assert listeners(owner_of(warehouse)) == {f"127.0.0.1:{warehouse.clickhouse_port}"}


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Settings of a warehouse of this test's own, in a directory whose name needs care."""
    directory = tmp_path / "a dir & more"
    directory.mkdir()
    return Settings(data_dir=directory, clickhouse_port=free_port())


def test_a_directory_that_the_engine_would_misread_is_refused(tmp_path: Path) -> None:
    """ChDB cuts a path at a question mark: data would lie beside the directory, outside of every backup."""
    with pytest.raises(SetupError, match="GRIDWATCH_DATA_DIR"), open_engine(tmp_path / "what?", "lake"):
        pass

    assert list(tmp_path.iterdir()) == []


def test_sigterm_stops_it_within_two_seconds_even_when_busy(own: Settings) -> None:
    """Running queries are killed; the exit is clean."""
    with running_warehouse(own) as child:
        with asked_by_hand(own, ENDLESS), connected(own, "gridwatch", "gridwatch") as client:
            eventually(lambda: running(client, ENDLESS) == 1, within_s=10, what="the query runs")
            started = time.monotonic()
            child.send_signal(signal.SIGTERM)

            code = child.wait(10)

        assert time.monotonic() - started < 2
        assert code == 0


def test_a_kill_loses_no_acknowledged_row(own: Settings) -> None:
    """Killed while inserting, it restarts on the same directory with every acknowledged batch whole, none in part."""
    acknowledged: list[int] = []
    with running_warehouse(own) as child, connected(own, "gridwatch", "gridwatch", database="lake") as client:
        client.command("CREATE TABLE kept (batch UInt32, n UInt32) ENGINE = MergeTree ORDER BY batch")
        insert_until_killed(client, acknowledged, at=5, kill=child.kill)

    with running_warehouse(own), connected(own, "analyst", "analyst", database="lake") as client:
        rows = dict(client.query("SELECT batch, count() FROM kept GROUP BY batch").result_rows)

    assert len(acknowledged) >= 5
    assert set(acknowledged) <= set(rows)
    assert set(rows.values()) == {20_000}


def insert_until_killed(client: Client, acknowledged: list[int], *, at: int, kill: Callable[[], None]) -> None:
    with suppress(Exception):
        for batch in range(1000):
            client.insert_arrow(
                "kept",
                pa.table({"batch": pa.array([batch] * 20_000, pa.uint32()), "n": pa.array(range(20_000), pa.uint32())}),
            )
            acknowledged.append(batch)
            if batch == at:
                kill()
