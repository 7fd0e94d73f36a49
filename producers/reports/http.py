"""The HTTP intake: reports from workers and residents, commands on cases.

201 and 200 mean that Kafka has acknowledged with acks=all. A repeated id gets the same
answer; the engine makes one case of it. A client that means to repeat after a 503 must
choose the id itself.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import HeaderParameter
from litestar.status_codes import (
    HTTP_200_OK,
    HTTP_202_ACCEPTED,
    HTTP_409_CONFLICT,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
)
from msgspec import Struct

from infra.clock import utc_now
from infra.kafka import Producer
from infra.logs import logger
from infra.settings import Settings
from pipelines.domain import ids
from producers.reports.domain.submission import CommandRequest, Submission, accept, command
from producers.reports.domain.wire import at_fault, checked, time_ordered_id
from producers.reports.explain import explain_route
from producers.reports.results import Results
from schemas.cases import CommandResult, Verdict
from schemas.errors import RecordError, UnavailableError
from schemas.fields import CaseId, RecordId
from schemas.grid import load_registry
from schemas.policy import load_policy
from schemas.topics import CASE_COMMANDS, REPORTERS, REPORTS

MAX_BODY_BYTES = 256 << 10
_KAFKA_S, _RESULT_S, _FLUSH_S = 10.0, 2.0, 2.0

log = logger()


class Accepted(Struct, frozen=True):
    """Answer to a report."""

    report_id: str
    case_id: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why a request was not taken, and which field is at fault."""

    reason: str
    detail: str
    field: str | None = None


async def _acknowledged(*sent: Future[None]) -> None:
    """Return when the broker has every record.

    Raises:
        UnavailableError: it did not say so within 10 s; the records may be there.
    """
    acknowledgements = asyncio.gather(*map(asyncio.wrap_future, sent))
    try:
        # Shielded: a future cancelled here would raise in the thread that serves delivery reports, and end it.
        await asyncio.wait_for(asyncio.shield(acknowledgements), _KAFKA_S)
    except TimeoutError as error:
        raise UnavailableError("kafka", f"no acknowledgement within {_KAFKA_S:.0f} s") from error


@post("/reports", status_code=201)
async def post_report(
    data: Submission,
    state: State,
    idempotency_key: Annotated[str | None, HeaderParameter(name="Idempotency-Key")] = None,
) -> Accepted:
    """Take a report; say its case's number at once."""
    now = utc_now()
    if idempotency_key is not None:
        checked(idempotency_key, RecordId, "Idempotency-Key")
    report_id = data.report_id or idempotency_key or time_ordered_id(now, token_bytes(10))
    report, reporter = accept(data, report_id=report_id, received_at=now, registry=state.registry, policy=state.policy)
    producer: Producer = state.producer
    sent = [producer.send(REPORTS, key=report.grid_id, ce_id=report_id, at=report.occurred_at, value=report)]
    if reporter is not None:
        sent.append(producer.send(REPORTERS, key=report_id, ce_id=report_id, at=now, value=reporter))
    await _acknowledged(*sent)
    return Accepted(report_id, ids.case_id(report.grid_id, report_id))


@post("/cases/{case_id:str}/commands", status_code=HTTP_200_OK)
async def post_command(case_id: str, data: CommandRequest, state: State) -> Response[CommandResult | None]:
    """Ask for a move: 200 done, 409 refused with the allowed moves, 202 not decided yet (ask at `Location`)."""
    checked(case_id, CaseId, "case_id")
    now = utc_now()
    command_id = data.command_id or time_ordered_id(now, token_bytes(10))
    asked = command(data, case_id=case_id, command_id=command_id, requested_at=now, registry=state.registry)
    producer: Producer = state.producer
    with state.results.expecting(case_id, command_id) as result:
        await _acknowledged(producer.send(CASE_COMMANDS, key=case_id[:15], ce_id=command_id, at=now, value=asked))
        try:
            return _answer(await asyncio.wait_for(result, _RESULT_S))
        except TimeoutError:
            return Response(None, status_code=HTTP_202_ACCEPTED, headers={"Location": f"/commands/{command_id}"})


@get("/commands/{command_id:str}")
async def get_command(command_id: str, state: State) -> Response[CommandResult | Problem]:
    """Return how a command ended."""
    result = state.results.find(command_id)
    if result is None:
        return Response(Problem("not_found", f"no result of {command_id} yet"), status_code=404)
    return _answer(result)


@get("/healthz", media_type=MediaType.TEXT)
async def healthz(state: State) -> Response[str]:
    """Answer 200 when the broker answers and results are being read."""
    is_up = state.results.is_ready and await asyncio.to_thread(state.producer.reaches_broker, 1.0)
    return Response("ok" if is_up else "no broker", status_code=200 if is_up else HTTP_503_SERVICE_UNAVAILABLE)


def _answer(result: CommandResult) -> Response[Any]:
    status = HTTP_200_OK if result.verdict is Verdict.ACCEPTED else HTTP_409_CONFLICT
    return Response(result, status_code=status)


def _invalid(_: Request[Any, Any, Any], error: ValidationException) -> Response[Problem]:
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    message = str(first.get("message", error.detail))
    return Response(Problem("invalid_field", message, at_fault(message, first.get("key"))), status_code=400)


def _refused(_: Request[Any, Any, Any], error: RecordError) -> Response[Problem]:
    status = 400 if error.reason == "invalid_field" else 422
    return Response(Problem(error.reason, error.detail, error.field), status_code=status)


def _too_deep(_: Request[Any, Any, Any], __: RecursionError) -> Response[Problem]:
    return Response(Problem("not_json", "nested too deep"), status_code=400)


def _unavailable(_: Request[Any, Any, Any], error: UnavailableError) -> Response[Problem]:
    log.warning("intake_unavailable", what=error.what, detail=error.detail)
    problem = Problem("unavailable", "perhaps not stored; send again with the same id")
    return Response(problem, status_code=HTTP_503_SERVICE_UNAVAILABLE, headers={"Retry-After": "5"})


def _failed(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.error("intake_failed", exc_info=error)
    return Response(Problem("internal_error", "this is our fault"), status_code=HTTP_500_INTERNAL_SERVER_ERROR)


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    reason = {400: "not_json", 404: "not_found", 413: "too_large"}.get(error.status_code, "refused")
    return Response(Problem(reason, error.detail), status_code=error.status_code)


def create_app(settings: Settings) -> Litestar:
    """Return the intake; it connects when it starts.

    Raises:
        SetupError: a data file of the district is wrong.
    """
    registry, policy = load_registry(settings.district_dir), load_policy(settings.district_dir)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        producer = app.state.producer = Producer(settings, "intake")
        results = app.state.results = Results(settings, asyncio.get_running_loop())
        yield
        results.close()
        log.info("intake_stopped", unacknowledged=producer.close(_FLUSH_S))

    return Litestar(
        [post_report, post_command, get_command, explain_route(settings), healthz],
        lifespan=[lifespan],
        state=State({"registry": registry, "policy": policy}),
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers={
            ValidationException: _invalid,
            RecordError: _refused,
            RecursionError: _too_deep,
            UnavailableError: _unavailable,
            HTTPException: _http,
            Exception: _failed,
        },
        openapi_config=OpenAPIConfig(
            title="GridWatch intake",
            version="1.0.0",
            path="/",
            render_plugins=[JsonRenderPlugin()],  # an empty list means pages that load scripts from elsewhere
        ),
    )
