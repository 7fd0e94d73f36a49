"""`GET /cases/{case_id}/explain`: why a case's deadlines are when they are."""

import asyncio

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from infra.case.ledger import explanation
from infra.settings import Settings
from pipelines.domain.explain import Explanation
from producers.reports.domain.wire import checked
from producers.reports.door import Problem, refusals
from schemas.errors import RecordError
from schemas.fields import CaseId


def explain_route(settings: Settings) -> HTTPRouteHandler:
    """Return the route; its answers are codes and instants, the same in every language."""
    turn = asyncio.Semaphore(1)  # each answer reads a partition of the ledger: one after the other

    @get("/cases/{case_id:str}/explain", responses=refusals(Problem, 400, 404))
    async def get_explanation(case_id: str) -> Explanation:
        """Return every interval of every clock of a case: counted or not, and why."""
        checked(case_id, CaseId, "case_id")
        try:
            async with turn:
                return await asyncio.to_thread(explanation, settings, case_id)
        except RecordError as error:
            raise NotFoundException(error.detail) from error

    return get_explanation
