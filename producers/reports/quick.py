"""`POST /reports` answered before the framework: a report costs a third of what it does through the route.

Only what is plain is taken: JSON of a known length that is a report. Everything else goes on to the
route, which documents this door and words its refusals of a body; nothing was done or counted by then.
"""

from typing import Any, Final

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from producers.reports.domain.submission import Submission
from producers.reports.door import refusal, wait_s
from producers.reports.sources import accepted
from schemas import codec
from schemas.errors import RecordError, UnavailableError

_JSON: Final = b"application/json"
_decoder = msgspec.json.Decoder(Submission)


class QuickReports:
    """An ASGI application: reports, and in front of the application that answers all else."""

    def __init__(self, app: ASGIApp, state: Any, max_bytes: int) -> None:
        """Stand before *app*, whose *state* the doors share; bodies above *max_bytes* are its own to refuse."""
        self._app, self._state, self._max_bytes = app, state, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a plain report; hand over everything else."""
        headers = _report_headers(scope)
        length = int(headers.get(b"content-length", b"0"))
        if not 0 < length <= self._max_bytes or not headers.get(b"content-type", b"").startswith(_JSON):
            await self._app(scope, receive, send)
            return
        messages = await _received(receive)
        submission = _decoded(messages)
        if submission is None or wait_s(self._state, scope):
            await self._app(scope, _again(messages, receive), send)
            return
        key = headers.get(b"idempotency-key")
        await self._answer(submission, None if key is None else key.decode("latin-1"), send)

    async def _answer(self, submission: Submission, idempotency_key: str | None, send: Send) -> None:
        try:
            answer = await accepted(self._state, submission, idempotency_key)
        except (RecordError, UnavailableError) as error:
            refused = refusal(error)
            await _send(send, refused.status, codec.encode(refused.problem), refused.headers)
        else:
            await _send(send, 201, codec.encode(answer), {})


def _report_headers(scope: Any) -> dict[bytes, bytes]:
    """Return the headers of a report, or nothing when *scope* is of something else."""
    if scope["type"] != "http" or scope["path"] != "/reports" or scope["method"] != "POST":
        return {}
    return dict(scope["headers"])


async def _received(receive: Receive) -> list[Any]:
    messages: list[Any] = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _decoded(messages: list[Any]) -> Submission | None:
    """Return the report in the body, or None when it is none, or its client has hung up."""
    if messages[-1]["type"] != "http.request":
        return None
    try:
        return _decoder.decode(b"".join(message["body"] for message in messages))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _again(messages: list[Any], receive: Receive) -> Receive:
    """Return a `receive` that gives *messages* first."""
    left = iter(messages)

    async def replayed() -> Any:
        return next(left, None) or await receive()

    return replayed


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
    pairs += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})
