"""`/open311/v2`: GeoReport v2 in JSON and XML, chosen by the path's ending, and FixMyStreet's updates.

The token of a POST is the report's id; it leads to the case once its lane has opened it.
"""

from collections.abc import Mapping, Sequence
from secrets import token_bytes
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_202_ACCEPTED
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from infra.clock import utc_now
from producers.reports.commands import asked_by_reporter
from producers.reports.domain import open311 as edge
from producers.reports.domain import open311_in as wanted
from producers.reports.domain.open311 import (
    Definition,
    Fault,
    Receipt,
    Service,
    ServiceRequest,
    Update,
    UpdateReceipt,
)
from producers.reports.domain.open311_in import Form, UpdateForm
from producers.reports.domain.wire import time_ordered_id
from producers.reports.door import IdempotencyKey, count_key, refusals, take, within_rate
from producers.reports.photos import PHOTO
from schemas.cases import Case, Verdict
from schemas.errors import OverloadedError, RecordError, UnavailableError
from schemas.reports import Visibility

_STATUS = {"unknown_service": 404, "not_found": 404, "conflict": 409, "refused": 409, "unknown_key": 403}
_NOT_DECIDED = ResponseSpec(
    list[UpdateReceipt], description="not decided yet; ask at Location", generate_examples=False
)

_Request = Request[Any, Any, State]


@get(["/services.json", "/services.xml"])
async def list_services(request: _Request) -> Response[list[Service]]:
    """List what can be reported."""
    return _answer(request, "services", "service", edge.services(request.app.state.policy))


@get("/services/{name:str}", responses=refusals(list[Fault], 404))
async def get_definition(request: _Request, name: str) -> Response[Definition]:
    """Say what a service asks: `/services/01001.json`."""
    code = _stem(name)
    if code not in request.app.state.policy.items:
        raise RecordError("unknown_service", f"no service {code}", "service_code")
    found = edge.definition(code)
    if _is_xml(request):
        return Response(edge.definition_xml(found), media_type="text/xml")  # type: ignore[arg-type]  # bytes, as asked
    return Response(found)


@post(
    ["/requests.json", "/requests.xml"],
    status_code=HTTP_201_CREATED,
    guards=[within_rate],
    responses=refusals(list[Fault], 400, 409, 413, 429, 503),
)
async def post_request(
    request: _Request,
    data: Annotated[Form, Body(media_type=RequestEncodingType.URL_ENCODED)],
    idempotency_key: IdempotencyKey = None,
) -> Response[list[Receipt]]:
    """Take a report, anonymous or not; `attribute[CODE]` answers what the definition asks."""
    state, form = request.app.state, msgspec.to_builtins(data)
    count_key(state, data.api_key)
    submission = wanted.submission(
        form, registry=state.registry, ground=state.ground, policy=state.policy, now=utc_now()
    )
    report = await take(state, submission, idempotency_key)
    return _answer(request, "service_requests", "request", [Receipt(token=report.report_id)], HTTP_201_CREATED)


@get("/tokens/{name:str}", responses=refusals(list[Fault], 404))
async def get_token(request: _Request, name: str) -> Response[list[Receipt]]:
    """Say which case a report has become: 404 until its lane has opened it."""
    token = _stem(name)
    case = request.app.state.cases.opened_by(token)
    if case is None:
        raise RecordError("not_found", "no case yet under this token", "token")
    return _answer(request, "service_requests", "request", [Receipt(token=token, service_request_id=case.case_id)])


@get(["/requests.json", "/requests.xml"], responses=refusals(list[Fault], 400))
async def list_requests(request: _Request) -> Response[list[ServiceRequest]]:
    """List cases, newest first: at most 90 days and 1,000 rows; nothing about who reported them."""
    state = request.app.state
    query = wanted.query(request.query_params, utc_now())
    found = [_public(request, case) for case in wanted.select(state.cases.all(), query)]
    return _answer(request, "service_requests", "request", found)


@get("/requests/{name:str}", responses=refusals(list[Fault], 404))
async def get_request(request: _Request, name: str) -> Response[list[ServiceRequest]]:
    """Say how a case stands."""
    state = request.app.state
    case = state.cases.case(_stem(name))
    if case is None:
        raise RecordError("not_found", "no such case", "service_request_id")
    return _answer(request, "service_requests", "request", [_public(request, case)])


@get(["/servicerequestupdates.json", "/servicerequestupdates.xml"], responses=refusals(list[Fault], 400))
async def list_updates(request: _Request) -> Response[list[Update]]:
    """List what happened to cases, oldest first (FixMyStreet's extension): at most 90 days and 1,000 rows."""
    query = wanted.query(request.query_params, utc_now())
    cases = request.app.state.cases
    told = (event for event in cases.events() if not _is_private(cases.case(event.case_id)))
    updates = {found.update_id: found for event in told if (found := edge.update(event))}
    asked = [found for found in updates.values() if query.since <= found.updated_datetime < query.until]
    asked.sort(key=lambda found: found.updated_datetime)
    rows = asked[query.first : query.first + query.count]
    return _answer(request, "service_requests_updates", "request_update", rows)


@post(
    ["/servicerequestupdates.json", "/servicerequestupdates.xml"],
    status_code=HTTP_201_CREATED,
    guards=[within_rate],
    responses={HTTP_202_ACCEPTED: _NOT_DECIDED, **refusals(list[Fault], 400, 403, 404, 409, 413, 429, 503)},
)
async def post_update(
    request: _Request, data: Annotated[UpdateForm, Body(media_type=RequestEncodingType.URL_ENCODED)]
) -> Response[list[UpdateReceipt]]:
    """Take what the public says about a case, from a site whose `api_key` the settings name.

    On a closed case OPEN reopens and FIXED or CLOSED are satisfaction; all else is a remark. 409 says what is allowed.
    """
    state = request.app.state
    count_key(state, data.api_key)
    if data.api_key not in state.api_keys:
        raise RecordError("unknown_key", "updates need a known key", "api_key")
    case = state.cases.case(data.service_request_id or "")
    if case is None:
        raise RecordError("not_found", "no such case", "service_request_id")
    fresh_id = time_ordered_id(utc_now(), token_bytes(10))
    asked = wanted.reporters_request(data, case, fresh_id)
    command_id, result = await asked_by_reporter(state, case, asked, fresh_id)
    if result is not None and result.verdict is Verdict.REFUSED:
        allowed = ", ".join(result.allowed) or "nothing"
        raise RecordError("refused", f"{result.reason}: {result.detail}; allowed is {allowed}", "status")
    status = HTTP_201_CREATED if result else HTTP_202_ACCEPTED
    receipts = [UpdateReceipt(update_id=command_id)]
    found = _answer(request, "service_request_updates", "request_update", receipts, status)
    if result is None:
        found.headers["Location"] = f"/commands/{command_id}"
    return found


def _is_private(case: Case | None) -> bool:
    """A line of the ledger may be read before its case, whose visibility nobody knows until then."""
    return case is None or case.visibility is Visibility.PRIVATE


def _public(request: _Request, case: Case) -> ServiceRequest:
    state = request.app.state
    report = state.cases.report(case.origin_id)
    if report is None:
        return edge.service_request(case, state.policy, state.registry, None, None)
    media = [ref.replace(PHOTO, f"{request.base_url}photos/", 1) for ref in report.media]
    return edge.service_request(case, state.policy, state.registry, report.location, media[0] if media else None)


def _stem(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    if ending not in ("json", "xml"):
        raise RecordError("not_found", "the path ends in .json or .xml")
    return stem


def _is_xml(request: _Request) -> bool:
    return request.url.path.endswith(".xml")


def _answer(
    request: _Request, root: str, row: str, rows: Sequence[Struct], status_code: int = HTTP_200_OK
) -> Response[Any]:
    if _is_xml(request):
        return Response(edge.xml(root, row, rows), media_type="text/xml", status_code=status_code)
    return Response(rows, status_code=status_code)


# -- errors, in the standard's shape -----------------------------------------------------------


def _fault(request: _Request, status_code: int, detail: str, headers: Mapping[str, str] | None = None) -> Response[Any]:
    found = _answer(request, "errors", "error", [Fault(str(status_code), detail)], status_code)
    found.headers.update(headers or {})
    return found


def _refused(request: _Request, error: RecordError) -> Response[Any]:
    return _fault(request, _STATUS.get(error.reason, 400), str(error))


def _unavailable(request: _Request, error: UnavailableError) -> Response[Any]:
    wait_s = "30" if isinstance(error, OverloadedError) else "5"
    return _fault(request, 503, "not stored; send again later", {"Retry-After": wait_s})


def _http(request: _Request, error: HTTPException) -> Response[Any]:
    return _fault(request, error.status_code, error.detail, error.headers)


def _invalid(request: _Request, error: ValidationException) -> Response[Any]:
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    return _fault(request, 400, f"{first.get('key', 'form')}: {first.get('message', error.detail)}")


_HANDLERS: ExceptionHandlersMap = {
    ValidationException: _invalid,
    RecordError: _refused,
    UnavailableError: _unavailable,
    OverloadedError: _unavailable,
    HTTPException: _http,
}

open311 = Router(
    "/open311/v2",
    route_handlers=[
        list_services,
        get_definition,
        post_request,
        get_token,
        list_requests,
        get_request,
        list_updates,
        post_update,
    ],
    exception_handlers=_HANDLERS,
    tags=["Open311"],
)
