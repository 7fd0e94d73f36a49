"""`/follow`: what a resident, known to nobody, sees and asks of the case they reported, by its number and code."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from tempfile import NamedTemporaryFile
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.status_codes import HTTP_200_OK
from msgspec import Struct

from infra.clock import utc_now
from infra.settings import Settings
from pipelines.domain.refusals import allowed_moves, reporters_moves
from producers.reports.commands import VERDICTS, answered, asked_by_reporter
from producers.reports.domain.follow import opens
from producers.reports.domain.open311 import item_name
from producers.reports.domain.submission import ReporterRequest
from producers.reports.domain.wire import time_ordered_id
from producers.reports.door import Problem, refusals, within_rate
from schemas.cases import Case, Closure, CommandResult, Move, Satisfaction, Stage
from schemas.errors import SetupError
from schemas.fields import Instant

_SECRET_BYTES: Final = 32


class Progress(Struct, frozen=True, kw_only=True):
    """How a case stands, for whoever reported it, and what they may ask now."""

    case_id: str
    stage: Stage
    item: str
    opened_at: Instant
    updated_at: Instant
    closure: Closure | None
    satisfaction: Satisfaction | None
    allowed: list[Move]


def follow_secret(settings: Settings) -> bytes:
    """Return what follow codes are made of: the setting, or a file that the first start writes.

    Raises:
        SetupError: the file is cut short.
    """
    given = settings.follow_secret.get_secret_value()
    return given.encode() if given else _kept_secret(settings.data_dir / "follow.key")


def _kept_secret(path: Path) -> bytes:
    """Return what the file holds, made whole before it has its name: half a secret would open every case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile(dir=path.parent, prefix=path.name) as file:  # readable by its owner alone
            file.write(token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first
                os.link(file.name, path)
    secret = path.read_bytes()
    if len(secret) < _SECRET_BYTES:
        raise SetupError(str(path), f"has {len(secret)} bytes, not {_SECRET_BYTES}: put back a whole one, or remove it")
    return secret


def followed(state: State, case_id: str, code: str) -> Case:
    """Return the case that *code* opens; a wrong code and no case read alike.

    Raises:
        NotFoundException: it opens none.
    """
    case: Case | None = state.cases.case(case_id) if opens(code, state.follow_secret, case_id) else None
    if case is None:
        raise NotFoundException("no such case, not opened yet, or not its code")
    return case


@get("/follow/{case_id:str}", guards=[within_rate], responses=refusals(Problem, 400, 404, 429))
async def get_progress(request: Request[Any, Any, State], case_id: str, code: str) -> Progress:
    """Say how a case stands, and which moves its reporter may ask for."""
    state = request.app.state
    case = followed(state, case_id, code)
    return Progress(
        case_id=case_id,
        stage=case.stage,
        item=item_name(state.policy, case),
        opened_at=case.opened_at,
        updated_at=case.updated_at,
        closure=case.closure,
        satisfaction=case.satisfaction,
        allowed=reporters_moves(allowed_moves(case)),
    )


@post(
    "/follow/{case_id:str}",
    status_code=HTTP_200_OK,
    guards=[within_rate],
    responses=VERDICTS | refusals(Problem, 400, 404, 413, 429, 503),
)
async def post_reporters_move(
    request: Request[Any, Any, State], case_id: str, code: str, data: ReporterRequest
) -> Response[CommandResult | None]:
    """Say how satisfied one is, ask to take the case up again, or add a remark: answers are those of a command."""
    state = request.app.state
    case = followed(state, case_id, code)
    return answered(*await asked_by_reporter(state, case, data, time_ordered_id(utc_now(), token_bytes(10))))
