"""From what a phone sends about a round to what travels of it. Pure."""

from datetime import datetime
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from producers.reports.domain.scrub import scrub
from producers.reports.domain.wire import Moment, checked
from schemas.errors import RecordError
from schemas.fields import GridId, Instant, PersonId, RecordId, Text
from schemas.registry import Registry
from schemas.visits import Visit, VisitKind


class VisitRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /visits`."""

    kind: VisitKind
    grid_id: GridId
    worker: PersonId
    occurred_at: Moment
    households: Annotated[int, Meta(ge=0, le=10_000, description="homes that were reached")]
    note: Annotated[Text | None, Meta(description="names no resident; numbers and addresses of people are masked")] = (
        None
    )
    visit_id: RecordId | None = None


def visit(request: VisitRequest, *, visit_id: str, received_at: datetime, registry: Registry) -> Visit:
    """Return the record to publish.

    Raises:
        RecordError: the instant is none, the grid unknown, or the worker does not serve it; `field` says which.
    """
    if request.grid_id not in registry.grids:
        raise RecordError("unknown_grid", f"no grid {request.grid_id} in the registry", "grid_id")
    occurred_at = checked(request.occurred_at, Instant, "occurred_at")
    if not registry.serves(request.worker, request.grid_id, occurred_at):
        raise RecordError("not_on_roster", "no such worker serves this grid", "worker")
    return Visit(
        visit_id=visit_id,
        grid_id=request.grid_id,
        kind=request.kind,
        worker=request.worker,
        occurred_at=occurred_at,
        received_at=received_at,
        households=request.households,
        note=None if request.note is None else scrub(request.note),
    )


def digest(taken: Visit) -> str:
    """Return what tells two visits under one id apart: 16 hex digits; when it was sent again does not count."""
    same = replace(taken, received_at=taken.occurred_at)
    return sha256(msgspec.json.encode(same, order="sorted")).hexdigest()[:16]
