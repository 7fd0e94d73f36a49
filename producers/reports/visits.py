"""`POST /visits`: the visit log (走访日志) of workers; it opens no case."""

from secrets import token_bytes
from typing import Any

from litestar import Request, post
from litestar.datastructures import State
from msgspec import Struct

from infra.clock import utc_now
from producers.reports.domain.visit import VisitRequest, digest, visit
from producers.reports.domain.wire import time_ordered_id
from producers.reports.door import Problem, outgoing, refusals, within_rate
from producers.reports.spool import Entry
from schemas.topics import VISITS


class Logged(Struct, frozen=True):
    """Answer to a visit: its number."""

    visit_id: str


@post("/visits", status_code=201, guards=[within_rate], responses=refusals(Problem, 400, 409, 413, 422, 429, 503))
async def post_visit(data: VisitRequest, request: Request[Any, Any, State]) -> Logged:
    """Log a visit to homes or a publicity round: 201 when it is on disk; one id is one visit."""
    state, now = request.app.state, utc_now()
    visit_id = data.visit_id or time_ordered_id(now, token_bytes(10))
    taken = visit(data, visit_id=visit_id, received_at=now, registry=state.registry)
    record = outgoing(VISITS, taken.grid_id, visit_id, taken.occurred_at, taken)
    # Ids of visits and of reports are two spaces: no report's can hold a slash.
    await state.outbox.store(Entry(f"visit/{visit_id}", digest(taken), [record]))
    return Logged(visit_id)
