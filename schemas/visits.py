"""What workers do besides cases: visits to homes and publicity (入户走访, 政策宣传)."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import GridId, Instant, PersonId, RecordId, Text


class VisitKind(StrEnum):
    """What a round through the grid was for."""

    HOME_VISIT = "home_visit"  # 入户走访
    PUBLICITY = "publicity"  # 政策宣传


class Visit(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the visit log on `visits`. No case follows from it, and it names no resident."""

    visit_id: RecordId
    grid_id: GridId
    kind: VisitKind
    worker: PersonId
    occurred_at: Instant
    received_at: Annotated[Instant, Meta(description="when the intake took it")]
    households: Annotated[int, Meta(ge=0, le=10_000, description="homes that were reached")]
    note: Text | None = None
