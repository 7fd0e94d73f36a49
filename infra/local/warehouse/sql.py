r"""What a statement is, and whether it may run; pure, on the bytes as they came.

Grants in the engine stop table functions and engines that leave the machine. They
do not stop the scalar `file()`, `INTO OUTFILE`, chDB's `Python()` and a few more, so those
are refused here by name, wherever the name stands. That is only sound if this lexer ends
every string and comment where the engine's lexer does. Forms where the two could differ
(heredocs `$$…$$`, typographic quotes, escapes inside quoted names, `1e--`) are refused
outright at the first one met: up to there both have read the same tokens.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from infra.local.warehouse.faults import ACCESS_DENIED, READONLY, SYNTAX_ERROR, QueryError


class Kind(StrEnum):
    """What a token is."""

    WORD = "word"
    NAME = "name"  # quoted with " or `
    STRING = "string"
    SYMBOL = "symbol"


class Token(NamedTuple):
    """One token; `text` is upper case for words, the content for quoted names."""

    kind: Kind
    text: str
    start: int
    end: int
    depth: int


class Insert(NamedTuple):
    """An INSERT whose rows follow in the body: the statement, their format, where they begin."""

    statement: str
    format: str
    data_at: int


class Statement(NamedTuple):
    """What the server needs to know of one statement."""

    verb: str
    insert: Insert | None = None
    format: str | None = None
    temporary: bool = False
    binds_names: bool = False  # `{x:Identifier}`: a parameter becomes a name, which may be a function's
    kills: str | None = None  # the id in `KILL QUERY WHERE query_id = '…'`, which the server knows and the engine not

    @property
    def reads(self) -> bool:
        """Tell whether a reader may run it."""
        return self.verb in _READING

    @property
    def writes(self) -> bool:
        """Tell whether it counts against the writers' share of the engine."""
        return self.verb in _WRITING

    @property
    def is_stateful(self) -> bool:
        """Tell whether it changes the session it runs in."""
        return self.verb in {"SET", "USE"} or self.temporary

    @property
    def leaves_nothing(self) -> bool:
        """Tell whether a connection is afterwards what it was before, for all that is known of it."""
        return (self.reads or self.verb == "INSERT") and not self.is_stateful

    @property
    def streams(self) -> bool:
        """Tell whether its result comes block by block."""
        return self.verb in {"SELECT", "WITH", "FROM", "("}


_MAKING: Final = frozenset({"CREATE", "DROP", "ATTACH", "REPLACE"})
_READING: Final = frozenset(
    {"SELECT", "WITH", "FROM", "(", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "EXISTS", "SET", "USE"}
)
_WRITING: Final = frozenset(
    {"INSERT", "CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "EXCHANGE", "OPTIMIZE", "DELETE", "UPDATE"}
)
_OTHER: Final = frozenset({"KILL", "SYSTEM", "CHECK", "DETACH", "ATTACH"})
# What needs no grant in the engine and reaches files, programs, this process's own variables or the network;
# what runs SQL that this lexer has not seen (`eval`, QueryRunner); what hides a query from its time limit.
_REFUSED: Final = frozenset(
    {
        "file", "python", "outfile", "infile", "disk", "executable", "executablepool", "embeddedrocksdb", "filelog",
        "aiclassify", "aiembed", "aiextract", "aifilter", "aigenerate", "airedact", "aisimilarity", "aitranslate",
        "eval", "queryrunner", "log_comment",
    }
)  # fmt: skip
_PARAMETER_NAME: Final = re.compile(r"[A-Za-z0-9_.]+")
_QUERY_ID: Final = re.compile(r"'([!-&(-\[\]-~]+)'")
_LEX: Final = re.compile(
    rb"""
      (?P<skip>    [ \t\n\r\f\v]++ | --[^\n]*+ | //[^\n]*+ | \#[ !][^\n]*+ )
    | (?P<comment> /\* )
    | (?P<string>  '(?: [^'\\]++ | \\. | '' )*+' )
    | (?P<name>    "(?: [^"\\]++ | \\. | "" )*+" | `(?: [^`\\]++ | \\. | `` )*+` )
    | (?P<word>    [A-Za-z_][A-Za-z0-9_$]*+ | [0-9][A-Za-z0-9_]*+ )
    | (?P<odd>     ['"`$] | \xE2\x80[\x98\x99\x9C\x9D] )
    | (?P<symbol>  . )
    """,
    re.S | re.X,
)
_COMMENT_EDGE: Final = re.compile(rb"/\*|\*/")
# The engine reads `1e-` as one number, so the `--` of `1e--` opens no comment there.
_NUMBER_BEFORE_COMMENT: Final = re.compile(rb"(?:[0-9]\w*|\w*[eEpP])\Z", re.A)
_BEFORE_ROWS: Final = re.compile(rb"[ \t\r;]*\n?")


def tokens(text: bytes) -> Iterator[Token]:
    """Yield the tokens of *text*, comments and blanks left out.

    Raises:
        QueryError: a string or comment is not closed, or is written in a form we refuse.
    """
    at = depth = 0
    while found := _LEX.match(text, at):
        at = found.end()
        if found.lastgroup == "skip":
            _check_comment(text, found)
        elif found.lastgroup == "comment":
            at = _comment_end(text, at)
        elif found.lastgroup == "odd":
            raise _unclear(found[0])
        else:
            depth -= found[0] == b")"
            yield _token(found, depth)
            depth += found[0] == b"("


def _token(found: re.Match[bytes], depth: int) -> Token:
    raw = found[0].decode(errors="replace")
    match found.lastgroup:
        case "word":
            return Token(Kind.WORD, raw.upper(), found.start(), found.end(), depth)
        case "name" if "\\" in raw:
            raise _unclear(found[0])
        case "name":
            return Token(Kind.NAME, raw[1:-1], found.start(), found.end(), depth)
        case "string":
            return Token(Kind.STRING, raw, found.start(), found.end(), depth)
    return Token(Kind.SYMBOL, raw, found.start(), found.end(), depth)


def _check_comment(text: bytes, found: re.Match[bytes]) -> None:
    if found[0].startswith(b"--") and _NUMBER_BEFORE_COMMENT.search(text[max(0, found.start() - 64) : found.start()]):
        raise _unclear(b"--")


def _comment_end(text: bytes, at: int) -> int:
    """Return where the block comment opened before *at* ends; they nest."""
    open_comments = 1
    while open_comments:
        edge = _COMMENT_EDGE.search(text, at)
        if edge is None:
            raise QueryError(SYNTAX_ERROR, "Multiline comment is not closed. (SYNTAX_ERROR)")
        open_comments += 1 if edge[0] == b"/*" else -1
        at = edge.end()
    return at


def _unclear(form: bytes) -> QueryError:
    shown = form[:20].decode(errors="replace")
    return QueryError(
        SYNTAX_ERROR,
        f"{shown} is not accepted here: close every quote, write strings in '…' and names in `…` without escapes, "
        "and put a blank before a -- comment. (SYNTAX_ERROR)",
    )


def parse(text: bytes, fixed: Collection[str] = ()) -> Statement:
    """Describe the statement in *text*; the rows of an INSERT may follow it there.

    Args:
        text: as it came.
        fixed: names of settings that whoever asks may not write.

    Raises:
        QueryError: empty, more than one statement, of no known kind, not readable for sure, or using a refused name.
    """
    reading = _single(tokens(text), fixed)
    first = next(reading, None)
    if first is None:
        raise QueryError(SYNTAX_ERROR, "Syntax error: Empty query. (SYNTAX_ERROR)")
    if first.text not in _READING | _WRITING | _OTHER:
        raise QueryError(SYNTAX_ERROR, f"Syntax error: {first.text[:20]} begins no known statement. (SYNTAX_ERROR)")
    if first.text == "INSERT":
        insert = _insert(text, reading)
        if insert is not None:
            return Statement("INSERT", insert)
    rest = list(reading)
    return Statement(
        "INSERT" if first.text == "WITH" and _inserts(rest) else first.text,
        format=_trailing_format(text, rest),
        temporary=first.text in _MAKING and _kind_made(rest) == "TEMPORARY",
        binds_names=any(token.text.upper() == "IDENTIFIER" for token in rest),
        kills=_killed(rest) if first.text == "KILL" else None,
    )


def _inserts(rest: list[Token]) -> bool:
    """Tell whether what was named after WITH is for an INSERT; a name may be INSERT itself."""
    before = "WITH"
    for token in rest:
        if not token.depth and token.kind is Kind.WORD:
            if token.text == "INSERT" and before not in {"WITH", "AS", ","}:
                return True
            if token.text in {"SELECT", "FROM"}:
                return False
        before = token.text
    return False


def _kind_made(rest: list[Token]) -> str:
    """Return the word after CREATE, or after CREATE OR REPLACE."""
    words = [token.text for token in rest[:3]]
    return next(iter(words[2:] if words[:2] == ["OR", "REPLACE"] else words), "")


def _killed(rest: list[Token]) -> str | None:
    """Return the id of the one query that a KILL names; every other condition is the engine's to judge."""
    match [token.text for token in rest if token.text not in {"SYNC", "ASYNC", ";"}]:
        case ["QUERY", "WHERE", "QUERY_ID", "=", ident, *shown] if shown[:1] in ([], ["FORMAT"]):
            found = _QUERY_ID.fullmatch(ident)
            return found[1] if found else None
    return None


def check_parameters(statement: Statement, parameters: Mapping[str, str]) -> None:
    """Refuse a parameter that would put a refused name into *statement*.

    Raises:
        QueryError: `{x:Identifier}` is used and a parameter is no plain or no allowed name.
    """
    for value in parameters.values() if statement.binds_names else ():
        if not _PARAMETER_NAME.fullmatch(value) or _REFUSED & set(value.lower().split(".")):
            raise QueryError(ACCESS_DENIED, "A parameter next to an Identifier is no allowed name. (ACCESS_DENIED)")


def _insert(text: bytes, reading: Iterator[Token]) -> Insert | None:
    """Return where the rows begin; None when the statement brings its rows itself (`INSERT … SELECT`)."""
    format_at = None
    for token in reading:
        if format_at is not None and token.kind is Kind.WORD:
            rows = _BEFORE_ROWS.match(text, token.end)
            name = text[token.start : token.end].decode()
            return Insert(text[:format_at].decode(), name, rows.end() if rows else token.end)
        format_at = None
        if token.depth or token.kind is not Kind.WORD:
            continue
        if token.text in {"SELECT", "WITH", "FROM"}:
            return None
        if token.text == "VALUES":
            return Insert(text[: token.start].decode(), "Values", token.end)
        if token.text == "FORMAT":
            format_at = token.start
    return None


def _trailing_format(text: bytes, rest: list[Token]) -> str | None:
    """Return the name after a FORMAT that ends the statement; SETTINGS or a semicolon may follow."""
    for before, name, after in zip(rest, rest[1:], [*rest[2:], None], strict=False):
        ends = after is None or after.text in {"SETTINGS", ";"}
        if before.text == "FORMAT" and not before.depth and name.kind is Kind.WORD and ends:
            return text[name.start : name.end].decode()
    return None


def _single(reading: Iterator[Token], fixed: Collection[str]) -> Iterator[Token]:
    """Pass tokens on, each checked; nothing but blanks may follow a semicolon."""
    ended = False
    for token in reading:
        if ended and token.text != ";":
            raise QueryError(SYNTAX_ERROR, "Multi-statements are not allowed. (SYNTAX_ERROR)")
        _check_name(token, fixed)
        ended = token.text == ";" and token.kind is Kind.SYMBOL
        yield token


def _check_name(token: Token, fixed: Collection[str]) -> None:
    if token.kind not in {Kind.WORD, Kind.NAME}:
        return
    name = token.text.lower()
    if name in fixed:
        raise QueryError(READONLY, f"{name} is fixed for you; a request may lower it beside its SQL. (READONLY)")
    if name in _REFUSED or name.startswith("param_"):  # `SET param_x` would bind a name unseen
        raise QueryError(
            ACCESS_DENIED,
            f"The name {name[:40]} is refused: this warehouse reaches no files, programs or networks. (ACCESS_DENIED)",
        )
