"""The HTTP intake: reports from workers and residents, and every door beside it.

201 to a report means that it is on disk in the spool, from where Kafka gets it; 200 to a command
that its lane has done it. A repeated id gets the same answer, with another body 409. A client that
means to repeat after a 503 must choose the id itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.status_codes import (
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
)

from infra.kafka import BatchProducer, Producer
from infra.logs import logger
from infra.settings import Settings
from producers.reports.cases import Cases
from producers.reports.commands import get_command, post_command
from producers.reports.domain.rate import Rate
from producers.reports.domain.submission import Submission
from producers.reports.domain.wire import at_fault
from producers.reports.door import SOURCE, IdempotencyKey, Problem, refusal, refusals, within_rate
from producers.reports.explain import explain_route
from producers.reports.follow import follow_secret, get_progress, post_reporters_move
from producers.reports.open311 import open311
from producers.reports.outbox import Outbox
from producers.reports.photos import Photos, get_photo, post_photo
from producers.reports.results import Results
from producers.reports.sources import Accepted, accepted, sources
from producers.reports.spool import Spool
from producers.reports.visits import post_visit
from schemas.errors import OverloadedError, RecordError, UnavailableError
from schemas.ground import Ground
from schemas.policy import load_policy
from schemas.registry import load_registry

MAX_BODY_BYTES = 256 << 10
_FLUSH_S = 2.0

log = logger()


@post("/reports", status_code=201, guards=[within_rate], responses=refusals(Problem, 400, 409, 413, 422, 429, 503))
async def post_report(
    data: Submission,
    request: Request[Any, Any, State],
    idempotency_key: IdempotencyKey = None,
) -> Accepted:
    """Take a report; say its case's number at once."""
    # Asked for as an argument, state would be copied for each report.
    return await accepted(request.app.state, data, idempotency_key)


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
            "key_rate": Rate(settings.key_reports_per_min),
            "api_keys": frozenset(filter(None, settings.api_keys.get_secret_value().split(","))),
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
        outbox = app.state.outbox = Outbox(spool, BatchProducer(settings))
        async with outbox.running():
            yield
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
            get_photo,
            get_progress,
            post_reporters_move,
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
