"""What the warehouse makes of a statement before the engine sees it."""

import pytest

from infra.local.warehouse.faults import ACCESS_DENIED, READONLY, SYNTAX_ERROR, QueryError
from infra.local.warehouse.sql import Insert, Statement, check_parameters, parse


def refusal(text: bytes | str) -> int:
    with pytest.raises(QueryError) as caught:
        parse(text.encode() if isinstance(text, str) else text)
    return caught.value.code


@pytest.mark.parametrize(
    "text",
    [
        "SELECT file('/x')",
        "select FiLe ('/x')",
        "SELECT /* ' */ file('/x')",
        "SELECT 1 -- '\n, file('/x')",
        "SELECT 1 // '\n, file('/x')",
        "SELECT 1 # '\n, file('/x')",
        "SELECT /* /* */ ' */ '', file('/x')",
        "SELECT 'it''s', file('/x')",
        r"SELECT 'it\'s', file('/x')",
        "SELECT `file`('/x')",
        "SELECT \"FILE\"('/x')",
        "SELECT arrayMap(file, ['/x'])",
        "SELECT * APPLY(file) FROM (SELECT '/x')",
        "EXPLAIN SELECT file('/x')",
        "(SELECT file('/x'))",
        "FROM numbers(1) SELECT file('/x')",
        "WITH file('/x') AS a SELECT a",
        "SELECT 1 INTO OUTFILE '/x'",
        "INSERT INTO t FROM INFILE '/x' FORMAT CSV",
        "INSERT INTO FUNCTION file('/x', CSV, 'a String') VALUES ('a')",
        "INSERT INTO t SELECT file('/x')",
        "SELECT * FROM python(rows)",
        "SELECT * FROM eval('SELECT 1')",
        "SELECT * FROM executable('x', CSV, 'a String')",
        "CREATE TABLE t (a String) ENGINE = Executable('x', CSV)",
        "CREATE TABLE t (query String) ENGINE = QueryRunner",
        "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/x')",
        "SELECT 1 SETTINGS log_comment = 'x'",
        "SET param_f = 'file'",
    ],
)
def test_a_refused_name_is_found_wherever_it_stands(text: str) -> None:
    """Comments, strings, quotes, case and position hide nothing."""
    assert refusal(text) == ACCESS_DENIED


@pytest.mark.parametrize(
    "text",
    [
        r"SELECT `fi\x6ce`('/x')",
        r'SELECT "\x66ile"(1)',
        "SELECT $$ ' $$, file('/x')",
        "SELECT 1e--'\n, file(1)",
        "SELECT ‘ file ’",
        "SELECT 'open",
        "SELECT `open",
        "SELECT /* open",
        "SELECT /* /* */ 1",
    ],
)
def test_what_two_lexers_might_read_differently_is_refused(text: str) -> None:
    """Escapes in names, heredocs, typographic quotes, `1e--` and open quotes never reach the engine."""
    assert refusal(text) == SYNTAX_ERROR


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'file(1)'",
        "SELECT filename, profile, file_count FROM t",
        "SELECT 1 -- file('/x')",
        "SELECT 1 /* file('/x') */",
        "SELECT a - -1, 1e-3, b --comment\n",
        "SELECT 1;",
        "SELECT 1 ; -- end",
    ],
)
def test_harmless_statements_pass(text: str) -> None:
    """A refused name inside a string, a comment or a longer name is no use of it."""
    assert parse(text.encode()).verb == "SELECT"


@pytest.mark.parametrize(
    "text", ["", "  ", "-- nothing", "/* */", "BACKUP TABLE t TO File('x')", "GRANT x", "; SELECT 1"]
)
def test_only_known_statements_run(text: str) -> None:
    """An empty text and a verb that is not listed are syntax errors."""
    assert refusal(text) == SYNTAX_ERROR


def test_one_statement_a_request() -> None:
    """What follows a semicolon is refused, also when the first part is harmless."""
    assert refusal("SELECT 1; DROP TABLE t") == SYNTAX_ERROR


@pytest.mark.parametrize(
    ("text", "insert"),
    [
        (b"INSERT INTO t FORMAT Native\n\x00\xff", Insert("INSERT INTO t ", "Native", 28)),
        (b"insert into t (a, b) format JSONEachRow {}", Insert("insert into t (a, b) ", "JSONEachRow", 40)),
        (b"INSERT INTO t (format, `values`) VALUES (1)", Insert("INSERT INTO t (format, `values`) ", "Values", 39)),
        (
            b"INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT CSV\n\n1",
            Insert("INSERT INTO t SETTINGS a = 'FORMAT x' ", "CSV", 49),
        ),
        (b"INSERT INTO t FORMAT TSV\r\n'", Insert("INSERT INTO t ", "TSV", 26)),
    ],
)
def test_the_rows_of_an_insert_begin_after_one_line_break(text: bytes, insert: Insert) -> None:
    """Rows are bytes of any kind: they are found without being read, one blank line is part of them."""
    assert parse(text).insert == insert


@pytest.mark.parametrize(
    "text", [b"INSERT INTO t SELECT 1", b"INSERT INTO t WITH 1 AS a SELECT a", b"INSERT INTO t (a) FROM u SELECT a"]
)
def test_an_insert_from_a_query_has_no_rows(text: bytes) -> None:
    """It runs as one statement."""
    assert parse(text).insert is None


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ("WITH 1 AS a INSERT INTO t SELECT a", True),
        ("WITH b AS (SELECT 1 AS a) insert t SELECT a FROM b", True),
        ("WITH 1 AS insert SELECT insert", False),
        ("WITH insert AS (SELECT 1 AS a) SELECT a FROM insert", False),
        ("WITH 1 AS a, insert AS (SELECT 1) SELECT a", False),
        ("WITH 'INSERT INTO t' AS a SELECT a", False),
    ],
)
def test_what_is_named_first_may_be_for_an_insert(text: str, writes: bool) -> None:
    """It is one, and is refused where one would be."""
    statement = parse(text.encode())

    assert (statement.writes, statement.reads) == (writes, not writes)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 format TSVWithNames;", "TSVWithNames"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        ("SELECT 1 AS format FROM t", None),
        ("SELECT format FROM t", None),
        ("SELECT format('{}', a) FROM t", None),
        ("SELECT * FROM (SELECT 1 FORMAT x)", None),
        ("SELECT 'FORMAT CSV'", None),
    ],
)
def test_the_format_is_the_one_that_ends_the_statement(text: str, name: str | None) -> None:
    """Columns, functions and strings called format are none."""
    assert parse(text.encode()).format == name


@pytest.mark.parametrize(
    ("text", "reads", "writes", "stateful"),
    [
        ("SELECT 1", True, False, False),
        ("SHOW TABLES", True, False, False),
        ("SET max_threads = 1", True, False, True),
        ("USE lake", True, False, True),
        ("CREATE TEMPORARY TABLE t (a Int8)", False, True, True),
        ("CREATE TABLE temporary (a Int8)", False, True, False),
        ("ALTER TABLE t ADD COLUMN temporary Int8", False, True, False),
        ("KILL QUERY WHERE 1", False, False, False),
    ],
)
def test_a_statement_is_sorted_by_what_it_does(text: str, reads: bool, writes: bool, stateful: bool) -> None:
    """Readers may run what reads; writers queue apart; a session is changed by SET, USE and temporary tables."""
    statement = parse(text.encode())

    assert (statement.reads, statement.writes, statement.is_stateful) == (reads, writes, stateful)


@pytest.mark.parametrize("value", ["file", "FILE", "lake.file", "`file`", r"fi\x6ce", ""])
def test_a_parameter_cannot_become_a_refused_name(value: str) -> None:
    """`{f:Identifier}` puts a parameter where a function's name may stand: arrayMap({f:Identifier}, …) reads a file."""
    statement = parse(b"SELECT arrayMap({f:Identifier}, ['/x'])")

    with pytest.raises(QueryError):
        check_parameters(statement, {"f": value})


def test_other_parameters_are_free_text() -> None:
    """Only a statement that binds names looks at its parameters; plain names pass there."""
    check_parameters(parse(b"SELECT {f:String}"), {"f": "file"})
    check_parameters(parse(b"SELECT * FROM {t:Identifier}"), {"t": "lake.cases"})
    assert parse(b"SELECT {f:String}") == Statement("SELECT")


@pytest.mark.parametrize(
    ("text", "query_id"),
    [
        (b"KILL QUERY WHERE query_id = 'a-1'", "a-1"),
        (b"kill query where query_id='a-1' SYNC FORMAT JSON;", "a-1"),
        (b"KILL QUERY WHERE query_id = 'it''s'", None),
        (b"KILL QUERY WHERE query_id = 'a' OR 1", None),
        (b"KILL QUERY WHERE user = 'a'", None),
        (b"KILL MUTATION WHERE query_id = 'a'", None),
    ],
)
def test_a_kill_of_one_query_names_it(text: bytes, query_id: str | None) -> None:
    """Only that form is the server's; any other condition goes to the engine."""
    assert parse(text).kills == query_id


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 SETTINGS max_result_rows = 0",
        "SET `Max_Result_Rows` = 0",
        "SELECT 1 FORMAT TSV SETTINGS max_result_rows=0",
    ],
)
def test_a_fixed_setting_is_found_wherever_it_stands(text: str) -> None:
    """Quotes and case hide nothing; for whom it is not fixed it is a setting like others."""
    with pytest.raises(QueryError) as caught:
        parse(text.encode(), {"max_result_rows"})

    assert caught.value.code == READONLY
    assert parse(text.encode())
