"""One HTTP request and its answer, as ClickHouse words them; no SQL, no engine."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import uuid4

from infra.local.warehouse.faults import BAD_ARGUMENTS, NETWORK_ERROR, QueryError
from infra.local.warehouse.frames import FrameDecoder, FrameEncoder
from infra.local.warehouse.wire import Decoder, Encoder, content_type

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# ClickHouse's own parameters; every other one is a setting of the query.
_NOT_SETTINGS: Final = frozenset(
    {"query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check", "user",
     "password", "quota_key", "compress", "decompress", "enable_http_compression", "http_zlib_compression_level",
     "wait_end_of_query", "buffer_size", "client_protocol_version", "send_progress_in_http_headers", "role", "readonly",
     "http_headers_progress_interval_ms", "add_http_cors_header", "stacktrace", "close_session", "log_comment",
     "http_write_exception_in_output_format", "cancel_http_readonly_queries_on_client_close"}
)  # fmt: skip
_MAX_STATEMENT_BYTES: Final = 1 << 20


class Exchange:
    """What a client asked, read as it comes, and what it is told."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, version: str, timezone: str) -> None:
        self._receive, self._send, self._version, self._timezone = receive, send, version, timezone
        self.path, self.method = str(scope["path"]), str(scope["method"])
        self.headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        self.parameters = dict(parse_qsl(scope["query_string"].decode("latin1"), keep_blank_values=True))
        # clickhouse-connect wants what it did not choose itself to be a UUID.
        self.query_id = self.parameters.get("query_id") or str(uuid4())
        self._exception_tag = secrets.token_hex(8)
        self._encoder: Encoder | FrameEncoder = Encoder("")
        self.started = False
        self._ended = False

    @property
    def settings(self) -> dict[str, str]:
        """Return the engine settings that came as parameters."""
        return {
            name: value
            for name, value in self.parameters.items()
            if name not in _NOT_SETTINGS and not name.startswith("param_") and name.isidentifier()
        }

    @property
    def database(self) -> str | None:
        """Return the database the statement starts in, when one is named."""
        return self.parameters.get("database") or self.headers.get("x-clickhouse-database")

    @property
    def wanted_format(self) -> str:
        """Return the format of a result whose statement names none."""
        named = self.headers.get("x-clickhouse-format") or self.parameters.get("default_format")
        return named or "TabSeparated"

    @property
    def query_parameters(self) -> dict[str, str]:
        """Return the values of `{name:Type}` in the statement."""
        return {name[6:]: value for name, value in self.parameters.items() if name.startswith("param_")}

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the request's body, decompressed.

        Raises:
            QueryError: the client went away, or compressed in a way we do not read.
        """
        if "multipart" in self.headers.get("content-type", ""):
            raise QueryError(BAD_ARGUMENTS, "External tables are not served here. (BAD_ARGUMENTS)")
        outer, more = Decoder(self.headers.get("content-encoding", "")), True
        frames = FrameDecoder() if self.parameters.get("decompress") == "1" else None
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise QueryError(NETWORK_ERROR, "The client went away. (NETWORK_ERROR)")
            more = message.get("more_body", False)
            for part in outer.add(message.get("body", b"")):
                for plain in frames.add(part) if frames else (part,):
                    yield plain
        if frames:
            frames.end()

    async def statement(self, body: AsyncIterator[bytes]) -> tuple[bytes, bool]:
        """Return the statement's text, with as many rows of an INSERT as came along, and whether that is all."""
        text, size = [self.parameters.get("query", "").encode()], 0
        async for part in body:
            text.append(part)
            size += len(part)
            if size >= _MAX_STATEMENT_BYTES:
                return _joined(text), False
        return _joined(text), True

    async def gone(self) -> None:
        """Return when the client has gone before it had its answer; only once the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._ended:  # so the server calls the end of an answer, too
            await asyncio.Event().wait()

    async def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a whole answer."""
        body = self._encoder.add(body) + self._encoder.end()
        await self._start(status, headers | {"content-length": str(len(body))})
        await self._end(body)

    async def begin(self, headers: dict[str, str]) -> None:
        """Send the head of an answer whose body comes in parts."""
        await self._start(200, headers)

    async def part(self, part: bytes) -> None:
        """Send *part*; waits while the client does not read."""
        if sent := self._encoder.add(part):
            await self._send({"type": "http.response.body", "body": sent, "more_body": True})

    async def end(self) -> None:
        """End the body."""
        await self._end(self._encoder.end())

    async def fail(self, error: QueryError) -> None:
        """Tell the client of *error*, in the head or, once the body has begun, at its broken-off end.

        The body is left without its last chunk: ended cleanly, some clients report success.
        """
        if self._ended:  # it happened while the request was tidied away: the client has its answer
            return
        version_text = "" if "(version" in error.text else f" (version {self._version} (official build))"
        text = f"{str(error).rstrip()}{version_text}\n"
        if not self.started:
            self._encoder = Encoder("")
            headers = {"x-clickhouse-exception-code": str(error.code), "content-type": "text/plain; charset=UTF-8"}
            await self.answer(error.status, text.encode(), headers)
            return
        tag, mark = self._exception_tag, "\r\n__exception__\r\n"
        tail = f"{mark}{tag}\r\n{text}{len(text.encode())} {tag}{mark}".encode()
        await self._send(
            {"type": "http.response.body", "body": self._encoder.add(tail) + self._encoder.end(), "more_body": True}
        )

    def compress(self) -> None:
        """Compress the answer in the way the client prefers, if it accepts one."""
        if self.parameters.get("compress") == "1":
            self._encoder = FrameEncoder()
        elif self.parameters.get("enable_http_compression", "1") != "0":
            self._encoder = Encoder(self.headers.get("accept-encoding", ""))

    async def _end(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body})
        self._ended = True

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        common = {
            "x-clickhouse-query-id": self.query_id,
            "x-clickhouse-server-display-name": "warehouse",
            "x-clickhouse-timezone": self._timezone,
            "x-clickhouse-exception-tag": self._exception_tag,
        }
        if self._encoder.kind is not None:
            common["content-encoding"] = self._encoder.kind
        lines = [
            (name.encode("latin1"), value.encode("latin1", "replace")) for name, value in (common | headers).items()
        ]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": lines})


def _joined(text: list[bytes]) -> bytes:
    head, body = text[0], b"".join(text[1:])
    return head + b"\n" + body if head and body else head + body


def result_headers(format_name: str, counts: dict[str, int]) -> dict[str, str]:
    """Return the headers that describe a result: format, type, and the summary clients read counts from."""
    return {
        "x-clickhouse-format": format_name,
        "content-type": content_type(format_name),
        "x-clickhouse-summary": json.dumps({name: str(value) for name, value in counts.items()}),
    }
