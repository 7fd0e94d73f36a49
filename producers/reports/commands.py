"""Moves over HTTP: `POST /cases/{case_id}/commands` of those who work on a case, and how every door asks a lane."""

import asyncio
from concurrent.futures import Future
from hashlib import sha256
from secrets import token_bytes
from typing import Any

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_409_CONFLICT
from msgspec.structs import replace

from infra.clock import utc_now
from infra.kafka import Producer
from pipelines.domain.refusals import reporters_moves
from producers.reports.domain.submission import CommandRequest, ReporterRequest, command, reporters_command
from producers.reports.domain.wire import checked, time_ordered_id
from producers.reports.door import Problem, refusals
from producers.reports.outbox import Outbox
from schemas.cases import Case, Command, CommandResult, Verdict
from schemas.errors import UnavailableError
from schemas.fields import CaseId
from schemas.reports import Reporter, Visibility
from schemas.topics import CASE_COMMANDS, REPORTERS

_KAFKA_S, _RESULT_S = 10.0, 2.0

_WITHHELD = "不公开"  # for a note of a private case: that there was one

VERDICTS = {
    HTTP_202_ACCEPTED: ResponseSpec(None, description="not decided yet; ask at Location"),
    HTTP_409_CONFLICT: ResponseSpec(CommandResult, description="refused, with the moves that are allowed"),
}


async def decided(state: State, asked: Command) -> CommandResult | None:
    """Send a command; return its lane's answer, or None when that takes longer than 2 s.

    Raises:
        UnavailableError: the broker did not take it within 10 s; it may be there.
    """
    producer: Producer = state.producer
    await _all_sent(state.outbox)
    with state.results.expecting(asked.case_id, asked.command_id) as result:
        await _acknowledged(
            producer.send(
                CASE_COMMANDS, key=asked.case_id[:15], ce_id=asked.command_id, at=asked.requested_at, value=asked
            )
        )
        try:
            found: CommandResult = await asyncio.wait_for(result, _RESULT_S)
        except TimeoutError:
            return None
        return found


async def asked_by_reporter(
    state: State, case: Case, request: ReporterRequest, fresh_id: str
) -> tuple[str, CommandResult | None]:
    """Ask a lane what a reporter asks; return the command's id and the answer, as `decided` does.

    What is said about a private case goes to the restricted topic, before it is decided and whatever is decided,
    under the command's id and its own digest: another text under one id replaces none.

    Raises:
        UnavailableError: the broker did not take it within 10 s; it may be there.
    """
    now = utc_now()
    asked = reporters_command(request, case.case_id, request_id=request.request_id or fresh_id, requested_at=now)
    if case.visibility is Visibility.PRIVATE and asked.note is not None and asked.note.strip():
        digest = sha256(asked.note.encode()).hexdigest()[:16]
        said = Reporter(report_id=f"{asked.command_id}:{digest}", description=asked.note)
        await _acknowledged(
            state.producer.send(REPORTERS, key=said.report_id, ce_id=said.report_id, at=now, value=said)
        )
        asked = replace(asked, note=_WITHHELD)
    result = await decided(state, asked)
    return asked.command_id, result and replace(result, allowed=reporters_moves(result.allowed))


def answered(command_id: str, result: CommandResult | None) -> Response[CommandResult | None]:
    """Return 200 done, 409 refused with the allowed moves, or 202 not decided yet (ask at `Location`)."""
    if result is None:
        return Response(None, status_code=HTTP_202_ACCEPTED, headers={"Location": f"/commands/{command_id}"})
    status = HTTP_200_OK if result.verdict is Verdict.ACCEPTED else HTTP_409_CONFLICT
    return Response(result, status_code=status)


@post(
    "/cases/{case_id:str}/commands",
    status_code=HTTP_200_OK,
    responses=VERDICTS | refusals(Problem, 400, 413, 422, 503),
)
async def post_command(case_id: str, data: CommandRequest, state: State) -> Response[CommandResult | None]:
    """Ask for a move: 200 done, 409 refused with the allowed moves, 202 not decided yet (ask at `Location`)."""
    checked(case_id, CaseId, "case_id")
    now = utc_now()
    command_id = data.command_id or time_ordered_id(now, token_bytes(10))
    asked = command(data, case_id=case_id, command_id=command_id, requested_at=now, registry=state.registry)
    return answered(command_id, await decided(state, asked))


@get(
    "/commands/{command_id:str}",
    responses={HTTP_409_CONFLICT: VERDICTS[HTTP_409_CONFLICT], **refusals(Problem, 404)},
)
async def get_command(command_id: str, state: State) -> Response[Any]:
    """Return how a command ended."""
    result = state.results.find(command_id)
    if result is None:
        raise NotFoundException("no result under this id yet")
    return answered(command_id, result)


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
