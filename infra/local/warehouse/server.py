"""ClickHouse's HTTP interface over the engine: an ASGI application.

A request is authenticated, its statement checked (`sql`), a place among readers or writers
awaited, and run on a connection that it owns (or its session does). When the client goes away, or
the user's time is up, the request is cancelled and the engine's query killed with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from infra import logs
from infra.local.warehouse import sql
from infra.local.warehouse.access import User, authenticate
from infra.local.warehouse.connections import Connection, Connections, Told
from infra.local.warehouse.engine import OWN_READERS, READERS, WRITERS, Engine
from infra.local.warehouse.exchange import Exchange, Receive, Scope, Send, result_headers
from infra.local.warehouse.faults import (
    READONLY,
    SYNTAX_ERROR,
    TIMEOUT_EXCEEDED,
    TOO_LARGE,
    UNKNOWN,
    QueryError,
)
from infra.local.warehouse.hello import hello, is_hello
from infra.local.warehouse.query import Query, on
from infra.local.warehouse.requests import Places, Requests
from infra.local.warehouse.sessions import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, Session, Sessions
from infra.local.warehouse.wire import Joiner, checked_format, joiner

_WHOLE_BYTES: Final = 500_000_000  # of a result that cannot be streamed, before its format
_log = logs.logger()


class Asked(NamedTuple):
    """One statement on its way to the engine."""

    exchange: Exchange
    user: User
    statement: sql.Statement

    @property
    def blocks(self) -> Joiner | None:
        """Return what joins the blocks of a result that is streamed, None for one that is held whole."""
        if not self.statement.streams or self.exchange.parameters.get("wait_end_of_query") == "1":
            return None
        return joiner(self.format)

    @property
    def format(self) -> str:
        """Return the format of the result."""
        return checked_format(self.statement.format or self.exchange.wanted_format)


class Warehouse:
    """The application; `close` ends its sessions."""

    def __init__(self, engine: Engine, users: dict[str, User], *, whole_bytes: int = _WHOLE_BYTES) -> None:
        self._engine, self._users, self._whole_bytes = engine, users, whole_bytes
        self._sessions, self._connections = Sessions(), Connections(engine)
        self._readers, self._own_readers, self._writers = Places(READERS), Places(OWN_READERS), Places(WRITERS)
        self._requests = Requests()

    def close(self) -> None:
        """Close the connections that are kept; call it when no request runs."""
        self._sessions.close()
        self._connections.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send, version=self._engine.version, timezone=self._engine.timezone)
        try:
            if not await self._small_talk(exchange):
                await self._answer(exchange)
        except QueryError as error:
            await exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - the outermost loop of a request
            _log.exception("warehouse_request_failed", query_id=exchange.query_id)
            await exchange.fail(QueryError(UNKNOWN, f"{type(error).__name__} (UNKNOWN_EXCEPTION)"))

    async def _small_talk(self, exchange: Exchange) -> bool:
        """Answer what needs no user; tell whether that was all."""
        if exchange.path in {"/ping", "/replicas_status"}:
            await exchange.answer(200, b"Ok.\n", {})
        elif exchange.path not in {"/", "/query"} or exchange.method not in {"GET", "POST", "PUT"}:
            await exchange.answer(404, b"There is no handle for this path and method.\n", {})
        elif exchange.method == "GET" and "query" not in exchange.parameters:
            await exchange.answer(200, b"Ok.\n", {})
        else:
            return False
        return True

    async def _answer(self, exchange: Exchange) -> None:
        user = authenticate(self._users, exchange.headers, exchange.parameters)
        with self._requests.known(user.name, exchange.query_id):
            body = exchange.body()
            text, complete = await exchange.statement(body)
            if is_hello(text, exchange.parameters):
                exchange.compress()
                await exchange.answer(200, hello(self._engine.version, self._engine.timezone), {})
                return
            statement = _parsed(text, user, complete=complete)
            _check_may(statement, user, exchange.method)
            sql.check_parameters(statement, exchange.query_parameters)
            asked = Asked(exchange, user, statement)
            try:
                async with asyncio.timeout(user.limit_s):
                    await self._run(asked, text, body)
            except TimeoutError:
                raise QueryError(
                    TIMEOUT_EXCEEDED,
                    f"Timeout exceeded: {user.limit_s} s are the limit of {user.name}. (TIMEOUT_EXCEEDED)",
                ) from None

    async def _run(self, asked: Asked, text: bytes, body: AsyncIterator[bytes]) -> None:
        """Run one statement that its user may run, and send what it returns."""
        insert = asked.statement.insert
        if insert is not None:
            async with self._query(asked, whole=False) as query:
                await _insert(asked.exchange, query, insert, text[insert.data_at :], body)
            return
        if asked.statement.kills is None:
            wanted = _text_of(text)
        else:
            wanted = self._requests.kill(asked.statement.kills, None if asked.user.writes else asked.user.name)
        asked.exchange.compress()
        async with _until_gone(asked.exchange):
            if (blocks := asked.blocks) is not None:
                async with self._query(asked, whole=False) as query:
                    await _send_blocks(asked, query, blocks, wanted)
            if not asked.exchange.started:
                # Or an empty stream, which had no block to take the header from: the whole answer has one.
                async with self._query(asked, whole=True) as query:
                    await _send_whole(asked, query, wanted)

    @asynccontextmanager
    async def _query(self, asked: Asked, *, whole: bool) -> AsyncIterator[Query]:
        """Own a place, a connection, and the session if one is named, for one statement.

        A result that is held *whole* is bounded.
        """
        exchange, user, statement = asked
        settings = user.capped(exchange.settings)
        if whole and not statement.is_stateful:
            settings["max_result_bytes"] = str(self._whole_bytes)
        async with (
            self._session(exchange, user) as session,
            self._places(user, statement).one(),
            self._connection(asked, session, settings) as connection,
            on(self._engine, connection) as query,
        ):
            yield query

    def _connection(
        self, asked: Asked, session: Session | None, settings: dict[str, str]
    ) -> AbstractAsyncContextManager[Connection]:
        """Own the session's connection from the first statement that changes it, any other before."""
        exchange, user, statement = asked
        database = None if statement.verb == "USE" else exchange.database
        if session is not None and (statement.is_stateful or session.connection is not None):
            return self._connections.of_session(session, database, settings, read_only=not user.writes)
        if not user.writes or exchange.method == "GET":
            settings["readonly"] = "2"
        told = Told(database or self._engine.database, frozenset(settings.items()))
        return self._connections.lent(told, again=statement.leaves_nothing)

    def _places(self, user: User, statement: sql.Statement) -> Places:
        if statement.writes:
            return self._writers
        return self._own_readers if user.writes else self._readers

    @asynccontextmanager
    async def _session(self, exchange: Exchange, user: User) -> AsyncIterator[Session | None]:
        name = exchange.parameters.get("session_id")
        if not name:
            yield None
            return
        wanted = exchange.parameters.get("session_timeout", "")
        timeout_s = min(float(wanted), MAX_TIMEOUT_S) if wanted.isdecimal() else DEFAULT_TIMEOUT_S
        async with self._sessions.hold(user.name, name, timeout_s) as session:
            yield session


def _check_may(statement: sql.Statement, user: User, method: str) -> None:
    """Refuse what changes something to a reader, and to a link that somebody follows; a reader may end a query."""
    if statement.reads or (method != "GET" and (user.writes or statement.kills is not None)):
        return
    raise QueryError(READONLY, f"{user.name}: Cannot execute query in readonly mode. (READONLY)")


def _parsed(text: bytes, user: User, *, complete: bool) -> sql.Statement:
    """Describe the statement; only the rows of an INSERT may be still on their way."""
    too_long = QueryError(TOO_LARGE, "A statement may have 1 MiB. (HTTP_BODY_TOO_LARGE)")
    try:
        statement = sql.parse(text, user.fixed)
    except QueryError as error:
        raise (error if complete else too_long) from error  # cut off, it may end inside a string
    if statement.insert is None and not complete:
        raise too_long
    return statement


async def _insert(
    exchange: Exchange, query: Query, insert: sql.Insert, first: bytes, body: AsyncIterator[bytes]
) -> None:
    """Stream the rows in; nothing is acknowledged before the engine has them all."""
    counts = await query.insert(insert.statement, checked_format(insert.format), first, body)
    await exchange.answer(200, b"", result_headers(insert.format, counts))


@asynccontextmanager
async def _until_gone(exchange: Exchange) -> AsyncIterator[None]:
    """Cancel the block when the client goes away; waiting for a place ends then, too."""
    watcher = asyncio.create_task(_cancel_when_gone(exchange, asyncio.current_task()))
    try:
        yield
    except asyncio.CancelledError:
        if not watcher.done():
            raise  # out of time, or the process stops
        _log.info("warehouse_client_gone", query_id=exchange.query_id)
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


async def _cancel_when_gone(exchange: Exchange, request: "asyncio.Task[Any] | None") -> None:
    await exchange.gone()
    if request is not None:
        request.cancel()


def _text_of(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise QueryError(SYNTAX_ERROR, "A statement is UTF-8. (SYNTAX_ERROR)") from error


async def _send_whole(asked: Asked, query: Query, text: str) -> None:
    """Run any statement but an INSERT with rows, and send what it returns."""
    result, counts = await query.whole(text, asked.format, asked.exchange.query_parameters)
    await asked.exchange.answer(200, result, result_headers(asked.format, counts))


async def _send_blocks(asked: Asked, query: Query, blocks: Joiner, text: str) -> None:
    """Send a result as it comes; nothing is sent when it is empty and a header is wanted."""
    exchange = asked.exchange
    async for block, counts in query.stream(text, asked.format, exchange.query_parameters):
        if not exchange.started:
            await exchange.begin(result_headers(asked.format, counts))
        await exchange.part(blocks.add(block))
    if exchange.started:
        await exchange.part(blocks.end)
        await exchange.end()
    elif not blocks.has_header:
        await exchange.answer(200, b"", result_headers(asked.format, {}))
