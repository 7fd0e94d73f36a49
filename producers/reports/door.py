"""What every door of the intake shares: how a report is taken, who is asked to wait, how a refusal reads."""

import math
from datetime import datetime
from secrets import token_bytes
from typing import Annotated, Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import TooManyRequestsException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter
from msgspec import Struct

from infra.clock import monotonic_s, utc_now
from infra.kafka import Outgoing
from infra.logs import logger
from producers.reports.domain.submission import Submission, accept
from producers.reports.domain.wire import checked, time_ordered_id
from producers.reports.spool import Entry
from schemas import codec
from schemas.errors import OverloadedError, RecordError, UnavailableError
from schemas.fields import RecordId
from schemas.reports import Report, Reporter
from schemas.topics import REPORTERS, REPORTS, Topic

SOURCE: Final = "intake"  # of every record, as CloudEvents say it

_REFUSALS = {
    400: "not JSON, or a field is missing or wrong",
    403: "no key, or not a known one",
    404: "not there, or not yet",
    409: "another report has this id",
    413: "too large",
    415: "not a kind of picture that is taken",
    422: "names what does not exist",
    429: "too many; Retry-After says when to come back",
    503: "no room, or no broker; Retry-After says when to come back",
}

_KEY_HEADER: Final = b"x-api-key"
_KEY_BYTES: Final = 80  # of a key count: what is remembered of many clients stays small
_LATER, _SOON = {"Retry-After": "30"}, {"Retry-After": "5"}

log = logger()

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why a request was not taken, and which field is at fault."""

    reason: str
    detail: str
    field: str | None = None


class Refusal(Struct, frozen=True):
    """How an error reads over HTTP."""

    status: int
    problem: Problem
    headers: dict[str, str] = {}


def refusal(error: RecordError | UnavailableError) -> Refusal:
    """Return the answer to a request that *error* ended; what is not the client's fault is logged."""
    if isinstance(error, RecordError):
        status = {"invalid_field": 400, "conflict": 409}.get(error.reason, 422)
        return Refusal(status, Problem(error.reason, error.detail, error.field))
    if isinstance(error, OverloadedError):
        log.warning("intake_overloaded", what=error.what, detail=error.detail)
        return Refusal(503, Problem("overloaded", "not stored; send again later with the same id"), _LATER)
    log.warning("intake_unavailable", what=error.what, detail=error.detail)
    return Refusal(503, Problem("unavailable", "perhaps not stored; send again with the same id"), _SOON)


def refusals(kind: Any, *statuses: int) -> dict[int, ResponseSpec]:
    """Return how refusals under *statuses* read, for the OpenAPI document."""
    return {status: ResponseSpec(kind, description=_REFUSALS[status], generate_examples=False) for status in statuses}


async def take(state: State, submission: Submission, idempotency_key: str | None = None) -> Report:
    """Put a report on disk and return it.

    Raises:
        RecordError: it is wrong, or another one has its id.
        UnavailableError: there is no room, or the disk refused.
    """
    now = utc_now()
    if idempotency_key is not None:
        checked(idempotency_key, RecordId, "Idempotency-Key")
    report_id = submission.report_id or idempotency_key or time_ordered_id(now, token_bytes(10))
    report, reporter = accept(
        submission, report_id=report_id, received_at=now, registry=state.registry, policy=state.policy
    )
    if submission.media:
        await state.photos.check(submission.media)
    await state.outbox.store(_entry(report, reporter))
    return report


def _entry(report: Report, reporter: Reporter | None) -> Entry:
    records = [outgoing(REPORTS, report.grid_id, report.report_id, report.occurred_at, report)]
    if reporter is not None:
        records.append(outgoing(REPORTERS, report.report_id, report.report_id, report.received_at, reporter))
    return Entry(report.report_id, report.digest, records)


def outgoing(topic: Topic, key: str, ce_id: str, at: datetime, value: Any) -> Outgoing:
    """Return a record of this process as Kafka gets it; *at* is when the thing happened."""
    return Outgoing(topic.name, key.encode(), codec.encode(value), codec.headers(topic, ce_id, at, SOURCE))


def wait_s(state: State, scope: Any) -> float:
    """Count a request for its address and its `X-Api-Key`; return 0, or the seconds until it may be sent again."""
    client, now_s = scope["client"][0] if scope["client"] else "", monotonic_s()
    wait: float = 0.0 if client in state.gateways else state.rate.wait_s(client, now_s)
    key = next((value for name, value in scope["headers"] if name == _KEY_HEADER), None)
    return wait if wait or key is None else state.key_rate.wait_s(key[:_KEY_BYTES].decode("latin-1"), now_s)


def count_key(state: State, api_key: str | None) -> None:
    """Count a request under its key, which Open311 has in the form, and others in a header.

    Raises:
        TooManyRequestsException: the key has used up its minute.
    """
    wait = 0.0 if api_key is None else state.key_rate.wait_s(api_key, monotonic_s())
    if wait:
        raise TooManyRequestsException("too many under this key", headers={"Retry-After": str(math.ceil(wait))})


async def within_rate(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Refuse an address, or a key, that reports too often.

    Not blocking, yet async: Litestar would take a thread for each report.

    Raises:
        TooManyRequestsException: with the seconds to wait.
    """
    wait = wait_s(connection.app.state, connection.scope)
    if wait:
        raise TooManyRequestsException("too many reports", headers={"Retry-After": str(math.ceil(wait))})
