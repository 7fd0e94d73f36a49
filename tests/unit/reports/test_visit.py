"""What the intake makes of an entry of the visit log."""

from datetime import timedelta
from typing import Any

import pytest

from producers.reports.domain.visit import VisitRequest, digest, visit
from schemas import codec
from schemas.errors import RecordError
from schemas.topics import VISITS
from schemas.visits import Visit, VisitKind
from tests.builders import GRID, NINE, REGISTRY, WORKER

PHONE = "13900001234"


def logged(**changes: Any) -> Visit:
    fields: dict[str, Any] = {
        "kind": VisitKind.HOME_VISIT,
        "grid_id": GRID,
        "worker": WORKER,
        "occurred_at": "2026-03-09T17:00:00+08:00",
        "households": 12,
    }
    received_at = changes.pop("received_at", NINE + timedelta(hours=1))
    return visit(VisitRequest(**fields | changes), visit_id="v-1", received_at=received_at, registry=REGISTRY)


def test_a_visit_keeps_when_it_happened_and_travels_whole() -> None:
    """A phone that was without a signal sends it later; the log says both times."""
    found = logged(note="发放宣传册")

    assert (found.occurred_at, found.received_at) == (NINE, NINE + timedelta(hours=1))
    assert codec.decode(VISITS, codec.encode(found)) == found


def test_a_note_loses_what_identifies_a_resident() -> None:
    """The log is read by many."""
    assert PHONE not in str(logged(note=f"住户电话{PHONE}"))


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"grid_id": "9" * 15}, "unknown_grid", "grid_id"),
        ({"worker": "pt-001002001"}, "not_on_roster", "worker"),
        ({"occurred_at": "yesterday"}, "invalid_field", "occurred_at"),
    ],
)
def test_a_visit_of_nobody_or_nowhere_is_refused(change: dict[str, Any], reason: str, field: str) -> None:
    """Grid, worker and instant must be real: the count per grid is somebody's merit."""
    with pytest.raises(RecordError) as caught:
        logged(**change)

    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_a_visit_sent_again_is_the_same_and_another_is_not() -> None:
    """What tells two under one id apart is what happened, not when it came."""
    assert digest(logged()) == digest(logged(received_at=NINE))
    assert digest(logged()) != digest(logged(households=13))
