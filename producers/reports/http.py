"""The HTTP intake: reports from workers and residents, commands on cases.

201 to a report means that it is on disk in the spool, from where Kafka gets it; 200 to a command
that its lane has done it. A repeated id gets the same answer, with another body 409. A client that
means to repeat after a 503 must choose the id itself.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotFoundException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.status_codes import (
    HTTP_200_OK,
    HTTP_202_ACCEPTED,
    HTTP_409_CONFLICT,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
)

from infra.clock import utc_now
from infra.kafka import Producer
from infra.logs import logger
from infra.settings import Settings
from producers.reports.cases import Cases
from producers.reports.domain.rate import Rate
from producers.reports.domain.submission import CommandRequest, Submission, command
from producers.reports.domain.wire import at_fault, checked, time_ordered_id
from producers.reports.door import SOURCE, IdempotencyKey, Problem, refusal, refusals, within_rate
from producers.reports.explain import explain_route
from producers.reports.open311 import open311
from producers.reports.outbox import Outbox
from producers.reports.photos import Photos, post_photo
from producers.reports.results import Results
from producers.reports.sources import Accepted, accepted, follow, follow_secret, sources
from producers.reports.spool import Spool
from producers.reports.visits import post_visit
from schemas.cases import CommandResult, Verdict
from schemas.errors import OverloadedError, RecordError, UnavailableError
from schemas.fields import CaseId
from schemas.grid import load_registry
from schemas.ground import Ground
from schemas.policy import load_policy
from schemas.topics import CASE_COMMANDS

MAX_BODY_BYTES = 256 << 10
_KAFKA_S, _RESULT_S, _FLUSH_S = 10.0, 2.0, 2.0

log = logger()


async def _acknowledged(sent: Future[None]) -> None:
    """Return when the broker has the record.

    Raises:
        UnavailableError: it did not say so within 10 s; the record may be there.
    """
    try:
        # Shielded: a future cancelled here would raise in the thread that serves delivery reports, and end it.
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(sent)), _KAFKA_S)
    except TimeoutError as error:
        raise UnavailableError("kafka", f"no acknowledgement within {_KAFKA_S:.0f} s") from error


async def _all_sent(outbox: Outbox) -> None:
    """Return when Kafka has every report that is on disk: no command may overtake its case's.

    Raises:
        UnavailableError: not within 10 s.
    """
    try:
        await asyncio.wait_for(outbox.sent(), _KAFKA_S)
    except TimeoutError as error:
        raise UnavailableError("kafka", f"reports wait longer than {_KAFKA_S:.0f} s") from error


@post("/reports", status_code=201, guards=[within_rate], responses=refusals(Problem, 400, 409, 413, 422, 429, 503))
async def post_report(
    data: Submission,
    request: Request[Any, Any, State],
    idempotency_key: IdempotencyKey = None,
) -> Accepted:
    """Take a report; say its case's number at once."""
    # Asked for as an argument, state would be copied for each report.
    return await accepted(request.app.state, data, idempotency_key)


_VERDICTS = {
    HTTP_202_ACCEPTED: ResponseSpec(None, description="not decided yet; ask at Location"),
    HTTP_409_CONFLICT: ResponseSpec(CommandResult, description="refused, with the moves that are allowed"),
}


@post(
    "/cases/{case_id:str}/commands",
    status_code=HTTP_200_OK,
    responses=_VERDICTS | refusals(Problem, 400, 413, 422, 503),
)
async def post_command(case_id: str, data: CommandRequest, state: State) -> Response[CommandResult | None]:
    """Ask for a move: 200 done, 409 refused with the allowed moves, 202 not decided yet (ask at `Location`)."""
    checked(case_id, CaseId, "case_id")
    now = utc_now()
    command_id = data.command_id or time_ordered_id(now, token_bytes(10))
    asked = command(data, case_id=case_id, command_id=command_id, requested_at=now, registry=state.registry)
    producer: Producer = state.producer
    await _all_sent(state.outbox)
    with state.results.expecting(case_id, command_id) as result:
        await _acknowledged(producer.send(CASE_COMMANDS, key=case_id[:15], ce_id=command_id, at=now, value=asked))
        try:
            return _answer(await asyncio.wait_for(result, _RESULT_S))
        except TimeoutError:
            return Response(None, status_code=HTTP_202_ACCEPTED, headers={"Location": f"/commands/{command_id}"})


@get(
    "/commands/{command_id:str}",
    responses={HTTP_409_CONFLICT: _VERDICTS[HTTP_409_CONFLICT], **refusals(Problem, 404)},
)
async def get_command(command_id: str, state: State) -> Response[CommandResult]:
    """Return how a command ended."""
    result = state.results.find(command_id)
    if result is None:
        raise NotFoundException("no result under this id yet")
    return _answer(result)


_NOT_NOW = {503: ResponseSpec(str, description="not now", media_type=MediaType.TEXT)}


@get("/healthz", media_type=MediaType.TEXT, responses=_NOT_NOW)
async def healthz(state: State) -> Response[str]:
    """Answer 200 while reports are taken, broker or not."""
    try:
        state.spool.check_room(state.spool.end + 1)
        state.spool.check_disk()
    except OverloadedError as error:
        return Response(str(error), status_code=HTTP_503_SERVICE_UNAVAILABLE)
    return Response(f"{state.spool.pending} reports wait for Kafka", status_code=200)


@get("/readyz", media_type=MediaType.TEXT, responses=_NOT_NOW)
async def readyz(state: State) -> Response[str]:
    """Answer 200 when commands too are answered: the broker answers and results are being read."""
    is_up = state.results.is_ready and await asyncio.to_thread(state.producer.reaches_broker, 1.0)
    return Response("ok" if is_up else "no broker", status_code=200 if is_up else HTTP_503_SERVICE_UNAVAILABLE)


def _answer(result: CommandResult) -> Response[Any]:
    status = HTTP_200_OK if result.verdict is Verdict.ACCEPTED else HTTP_409_CONFLICT
    return Response(result, status_code=status)


def _invalid(_: Request[Any, Any, Any], error: ValidationException) -> Response[Problem]:
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    message = str(first.get("message", error.detail))
    return Response(Problem("invalid_field", message, at_fault(message, first.get("key"))), status_code=400)


def _refused(_: Request[Any, Any, Any], error: RecordError | UnavailableError) -> Response[Problem]:
    found = refusal(error)
    return Response(found.problem, status_code=found.status, headers=found.headers)


def _too_deep(_: Request[Any, Any, Any], __: RecursionError) -> Response[Problem]:
    return Response(Problem("not_json", "nested too deep"), status_code=400)


def _failed(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.error("intake_failed", exc_info=error)
    return Response(Problem("internal_error", "this is our fault"), status_code=HTTP_500_INTERNAL_SERVER_ERROR)


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    reason = {400: "not_json", 404: "not_found", 413: "too_large", 429: "too_many"}.get(error.status_code, "refused")
    return Response(Problem(reason, error.detail), status_code=error.status_code, headers=error.headers)


def _state(settings: Settings, spool: Spool) -> State:
    registry = load_registry(settings.district_dir)
    return State(
        {
            "spool": spool,
            "registry": registry,
            "policy": load_policy(settings.district_dir),
            "photos": Photos(settings),
            "follow_secret": follow_secret(settings),
            "wecom_urgent": frozenset(int(number) for number in settings.wecom_urgent.split(",") if number),
            "ground": Ground(registry.grids.values()),
            "rate": Rate(settings.reports_per_min),
            "gateways": frozenset(settings.gateways.split(",")),
        }
    )


def create_app(settings: Settings, spool: Spool) -> Litestar:
    """Return the intake; it connects when it starts.

    Raises:
        SetupError: a data file of the district is wrong.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        producer = app.state.producer = Producer(settings, SOURCE)
        results = app.state.results = Results(settings, asyncio.get_running_loop())
        cases = app.state.cases = Cases(settings)
        relay = Producer(settings, SOURCE, delivery_timeout_ms=0)
        outbox = app.state.outbox = Outbox(spool, relay)
        async with outbox.running():
            yield
        relay.close(0.0)  # what it holds is in the spool
        results.close()
        cases.close()
        log.info("intake_stopped", unacknowledged=producer.close(_FLUSH_S), spooled=spool.pending)

    return Litestar(
        [
            post_report,
            post_visit,
            post_command,
            get_command,
            explain_route(settings),
            healthz,
            readyz,
            post_photo,
            follow,
            open311,
            sources,
        ],
        lifespan=[lifespan],
        state=_state(settings, spool),
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers={
            ValidationException: _invalid,
            RecordError: _refused,
            RecursionError: _too_deep,
            OverloadedError: _refused,
            UnavailableError: _refused,
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
