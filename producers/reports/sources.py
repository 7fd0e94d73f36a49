"""`/sources`: reports in the shapes of other systems, each in the frame that it states; and following a case."""

import asyncio
from typing import Any

from litestar import Request, Router, post
from litestar.datastructures import State
from msgspec import Struct

from pipelines.domain import ids
from producers.reports.domain.coordinates import Frame
from producers.reports.domain.follow import follow_code
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
from schemas.errors import RecordError

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


sources = Router("/sources", route_handlers=[post_wecom, post_grid_event, post_table], tags=["Sources"])
