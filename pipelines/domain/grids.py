"""Per-grid state (各网格实时情况): a fold over the cases and cameras of the grid, kept up to date case by case."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from heapq import heappop, heappush

from msgspec import Struct

from pipelines.domain import sla
from pipelines.domain.silence import Watched
from schemas.cases import Case, GridState, Stage
from schemas.reports import Location


class Progress(Struct, frozen=True):
    """What counts of a clock."""

    step: int
    next_at: datetime | None = None


class Counted(Struct, frozen=True):
    """What counts of a case: the part of it that recovery reads of each, a third of the work of reading it whole."""

    case_id: str
    grid_id: str
    item_code: str
    stage: Stage
    opened_at: datetime
    updated_at: datetime
    breaches: int = 0
    timer: Progress | None = None
    location: Location | None = None
    similar_to: str | None = None


class Gone(Struct, frozen=True, kw_only=True):
    """What is remembered of a grid's cases that have left the state: archived long ago, they still count.

    Cases go in the order in which they were archived, so the last one tells which are counted
    here: one that a crash left in the state beside this is known by it.
    """

    grid_id: str
    cases: int = 0
    breaches: int = 0
    last: tuple[datetime, str] | None = None  # when it was archived, and its id

    def counts(self, case: Case | Counted) -> bool:
        """Tell whether *case* is among those counted here."""
        return case.stage is Stage.ARCHIVED and self.last is not None and (case.updated_at, case.case_id) <= self.last


class Tally:
    """Counts of one grid's cases."""

    def __init__(self, grid_id: str) -> None:
        self.gone = Gone(grid_id=grid_id)
        self._stages: Counter[Stage] = Counter()
        self._overdue = self._breaches = 0
        self._open: dict[str, datetime] = {}
        self._oldest: list[
            tuple[datetime, str]
        ] = []  # an index of `_open`; what has been archived since is in it still

    def change(self, before: Case | None, after: Case | Counted) -> None:
        """Count a case as it is now, no longer as it was *before*."""
        if before is not None:
            self._count(before, -1)
        self._count(after, 1)
        if after.stage is Stage.ARCHIVED:
            self._open.pop(after.case_id, None)
        elif after.case_id not in self._open:
            self._open[after.case_id] = after.opened_at
            heappush(self._oldest, (after.opened_at, after.case_id))

    def forget(self, case: Case) -> None:
        """Let an archived case go; its numbers stay."""
        self._count(case, -1)
        self.gone = Gone(
            grid_id=self.gone.grid_id,
            cases=self.gone.cases + 1,
            breaches=self.gone.breaches + case.breaches,
            last=(case.updated_at, case.case_id),
        )

    def _count(self, case: Case | Counted, by: int) -> None:
        self._stages[case.stage] += by
        self._breaches += by * case.breaches
        self._overdue += by * (case.timer is not None and case.timer.step > sla.BREACH)

    def state(self, watched: Iterable[Watched], *, cameras: int, as_of: datetime) -> GridState:
        """Return the state of the grid."""
        while self._oldest and self._oldest[0][1] not in self._open:
            heappop(self._oldest)
        by_stage = {stage: self._stages[stage] for stage in Stage}
        by_stage[Stage.ARCHIVED] += self.gone.cases
        return GridState(
            grid_id=self.gone.grid_id,
            as_of=as_of,
            reported=sum(by_stage.values()),
            open=len(self._open),
            archived=by_stage[Stage.ARCHIVED],
            by_stage=by_stage,
            overdue=self._overdue,
            breaches=self._breaches + self.gone.breaches,
            oldest_open_at=self._oldest[0][0] if self._oldest else None,
            cameras=cameras,
            cameras_live=sum(camera.is_live for camera in watched),
        )
