"""`/sources`: reports in the shapes of other systems, each in the frame that it states; and following a case."""

import asyncio
import os
from pathlib import Path
from secrets import token_bytes
from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from msgspec import Struct

from infra.settings import Settings
from pipelines.domain import ids
from producers.reports.domain.coordinates import Frame
from producers.reports.domain.follow import follow_code, opens
from producers.reports.domain.shapes import (
    GridEvent,
    Row,
    Surroundings,
    WecomOrder,
    from_grid_event,
    from_table,
    from_wecom,
)
from producers.reports.domain.submission import Submission
from producers.reports.door import Problem, refusals, take, within_rate
from schemas.cases import Stage
from schemas.errors import RecordError
from schemas.fields import Instant

MAX_TABLE_BYTES = 4 << 20
_STATUSES = (400, 409, 413, 422, 429, 503)


class Accepted(Struct, frozen=True):
    """Answer to a report: its numbers, and the code with which whoever sent it may follow the case."""

    report_id: str
    case_id: str
    code: str


class RefusedLine(Struct, frozen=True):
    """A line of a table that is no report."""

    line: int
    reason: str
    detail: str
    field: str | None


class Taken(Struct, frozen=True):
    """Answer to a table."""

    accepted: int
    refused: list[RefusedLine]


class Progress(Struct, frozen=True, kw_only=True):
    """How a case stands, for whoever reported it."""

    case_id: str
    stage: Stage
    item: str
    opened_at: Instant
    updated_at: Instant


def follow_secret(settings: Settings) -> bytes:
    """Return what follow codes are made of: the setting, or a file that the first start writes."""
    given = settings.follow_secret.get_secret_value()
    return given.encode() if given else _kept_secret(settings.data_dir / "follow.key")


def _kept_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        pass
    return path.read_bytes()


async def accepted(state: State, submission: Submission, idempotency_key: str | None = None) -> Accepted:
    """Put a report on disk; answer with its numbers."""
    report = await take(state, submission, idempotency_key)
    case_id = ids.case_id(report.grid_id, report.report_id)
    return Accepted(report.report_id, case_id, follow_code(state.follow_secret, case_id))


def _around(state: State, frame: Frame) -> Surroundings:
    return Surroundings(registry=state.registry, ground=state.ground, policy=state.policy, frame=frame)


@post("/wecom", status_code=201, guards=[within_rate], responses=refusals(Problem, *_STATUSES))
async def post_wecom(data: WecomOrder, request: Request[Any, Any, State], frame: Frame = Frame.GCJ02) -> Accepted:
    """Take an order of WeCom's 巡查上报, as `get_order_info` returns it."""
    state = request.app.state
    return await accepted(state, from_wecom(data, _around(state, frame), state.wecom_urgent))


@post("/grid-events", status_code=201, guards=[within_rate], responses=refusals(Problem, *_STATUSES))
async def post_grid_event(data: GridEvent, request: Request[Any, Any, State], frame: Frame) -> Accepted:
    """Take a district platform's event; `frame` says what its coordinates mean."""
    state = request.app.state
    return await accepted(state, from_grid_event(data, _around(state, frame)))


@post(
    "/csv",
    status_code=201,
    guards=[within_rate],
    request_max_body_size=MAX_TABLE_BYTES,
    responses=refusals(Problem, *_STATUSES),
)
async def post_table(request: Request[Any, Any, State], frame: Frame) -> Taken:
    """Take every line of a CSV that is a report; say of the others why not. The same file again changes nothing."""
    state = request.app.state
    rows = list(from_table(await request.body(), _around(state, frame)))
    refused = await asyncio.gather(*(_take_line(state, row) for row in rows))
    return Taken(refused.count(None), [line for line in refused if line is not None])


async def _take_line(state: State, row: Row) -> RefusedLine | None:
    error = row.error
    if row.submission is not None:
        try:
            await take(state, row.submission)
        except RecordError as found:
            error = found
    return None if error is None else RefusedLine(row.line, error.reason, error.detail, error.field)


@get("/follow/{case_id:str}", guards=[within_rate], responses=refusals(Problem, 400, 404, 429))
async def follow(request: Request[Any, Any, State], case_id: str, code: str) -> Response[Progress]:
    """Say how a case stands to whoever has its code; a wrong code and no case read alike."""
    state = request.app.state
    case = state.cases.case(case_id) if opens(code, state.follow_secret, case_id) else None
    if case is None:
        raise NotFoundException("no such case, not opened yet, or not its code")
    return Response(
        Progress(
            case_id=case_id,
            stage=case.stage,
            item=state.policy.items[case.item_code].name,
            opened_at=case.opened_at,
            updated_at=case.updated_at,
        )
    )


sources = Router("/sources", route_handlers=[post_wecom, post_grid_event, post_table], tags=["Sources"])
