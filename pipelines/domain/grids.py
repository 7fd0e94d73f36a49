"""Per-grid state (各网格实时情况): a fold over the cases and cameras of the grid. Pure."""

from collections.abc import Iterable
from datetime import datetime

from pipelines.domain import sla
from pipelines.domain.silence import Watched
from schemas.cases import Case, GridState, Stage


def grid_state(
    grid_id: str, cases: Iterable[Case], watched: Iterable[Watched], *, cameras: int, as_of: datetime
) -> GridState:
    """Return the state of one grid, counted afresh from all its cases."""
    by_stage = dict.fromkeys(Stage, 0)
    overdue = breaches = reported = 0
    oldest: datetime | None = None
    for case in cases:
        reported += 1
        by_stage[case.stage] += 1
        breaches += case.breaches
        overdue += sla.is_breached(case)
        if case.stage is not Stage.ARCHIVED and (oldest is None or case.opened_at < oldest):
            oldest = case.opened_at
    return GridState(
        grid_id=grid_id,
        as_of=as_of,
        reported=reported,
        open=reported - by_stage[Stage.ARCHIVED],
        archived=by_stage[Stage.ARCHIVED],
        by_stage=by_stage,
        overdue=overdue,
        breaches=breaches,
        oldest_open_at=oldest,
        cameras=cameras,
        cameras_live=sum(camera.is_live for camera in watched),
    )
