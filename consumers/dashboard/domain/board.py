"""From the model to the view: who is late, what is silent, how topics move. Pure; *now* is an argument."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from consumers.dashboard.domain import geometry, health
from consumers.dashboard.domain.model import Model
from consumers.dashboard.domain.views import (
    AlertRow,
    CameraGroup,
    CameraTile,
    CaseRow,
    Counts,
    Eye,
    GridRow,
    Heat,
    Names,
    ReaderCell,
    TopicRow,
    View,
)
from schemas.alerts import Alert
from schemas.cameras import CameraStatus
from schemas.cases import Case
from schemas.grid import Camera, Grid
from schemas.policy import Policy
from schemas.registry import Registry
from schemas.topics import TOPICS, Topic

CASES_SHOWN = 60
ALERTS_SHOWN = 24
RATES_SHOWN = 30
_HEAT = {heat: rank for rank, heat in enumerate(Heat)}


def heat(case: Case, now: datetime) -> Heat:
    """Return how pressing an open *case* is: by its deadline, whatever its engine has said so far."""
    timer = case.timer
    if timer is None:
        return Heat.OPEN
    now = timer.paused_at or now
    if now >= timer.due_at:
        return Heat.OVERDUE
    is_warned = timer.step > 0 or (timer.next_at is not None and now >= timer.next_at)
    return Heat.DUE_SOON if is_warned else Heat.OPEN


class Board:
    """Builds views of one district; holds only what never changes while the page runs."""

    def __init__(self, registry: Registry, policy: Policy) -> None:
        self._registry, self._policy = registry, policy
        self._drawing = geometry.draw(list(registry.grids.values()))
        self._silent_after = timedelta(milliseconds=policy.file.camera_silent_after_ms)

    def has_grid(self, grid_id: str) -> bool:
        """Tell whether the district has this grid."""
        return grid_id in self._registry.grids

    def view(self, model: Model, now: datetime, *, lost_since: datetime | None, focus: str | None = None) -> View:
        """Return what to show at *now*; *focus* narrows cases, cameras and alerts to one grid."""
        rows = [self._case(case, now) for case in model.cases.values()]
        groups = [self._camera_group(grid_id, model, now) for grid_id in self._registry.cameras_of]
        topics = [_topic(topic, model) for topic in TOPICS] if model.samples else []
        cases = pressing([row for row in rows if focus in (None, row.grid_id)], every=focus is not None)
        district = self._registry.content.map.district
        return View(
            now=now,
            district=Names(district.name, district.name_en),
            focus=focus,
            newest_at=model.newest_at,
            sampled_at=model.samples[-1].at if model.samples else None,
            lost_since=lost_since,
            unreadable=model.unreadable,
            counts=_counts(rows, groups, topics),
            cases=cases[:CASES_SHOWN],
            cases_left_off=max(0, len(cases) - CASES_SHOWN),
            width=self._drawing.width,
            height=self._drawing.height,
            grids=self._grids(model, rows, groups),
            topics=topics,
            cameras=[group for group in groups if focus in (None, group.grid_id)],
            alerts=self._alerts(model, focus),
        )

    def _case(self, case: Case, now: datetime) -> CaseRow:
        person = self._registry.people.get(case.assignee or "")
        timer = case.timer
        return CaseRow(
            case_id=case.case_id,
            grid_id=case.grid_id,
            grid=self._grid_name(case.grid_id),
            item=self._item_name(case.item_code),
            stage=case.stage,
            level=case.level,
            heat=heat(case, now),
            urgency=case.urgency,
            opened_at=case.opened_at,
            clock=timer.clock if timer else None,
            started_at=timer.started_at if timer else None,
            due_at=timer.due_at if timer else None,
            assignee=case.assignee,
            role=person.role if person else None,
            breaches=case.breaches,
            rework=case.rework,
        )

    def _grid_name(self, grid_id: str) -> Names:
        grid = self._registry.grids.get(grid_id)
        return Names(grid.name, grid.name_en) if grid else Names(grid_id, grid_id)

    def _item_name(self, code: str) -> Names:
        item = self._policy.items.get(code)
        return Names(item.name, item.name_en) if item else Names(code, code)

    def _grids(self, model: Model, rows: list[CaseRow], groups: list[CameraGroup]) -> list[GridRow]:
        cases: dict[str, list[CaseRow]] = {}
        for row in rows:
            cases.setdefault(row.grid_id, []).append(row)
        cameras = {group.grid_id: group for group in groups}
        return [
            self._grid(grid, model, cases.get(grid.id, []), cameras.get(grid.id))
            for grid in self._registry.grids.values()
        ]

    def _grid(self, grid: Grid, model: Model, cases: list[CaseRow], cameras: CameraGroup | None) -> GridRow:
        village, shape = self._registry.places[grid.village_id], self._drawing.shapes[grid.id]
        state = model.grids.get(grid.id)
        return GridRow(
            grid_id=grid.id,
            name=Names(grid.name, grid.name_en),
            village=Names(_bare(village.name), grid.name_en.partition(" · ")[0]),
            label=short_label(grid, village.name),
            heat=max((row.heat for row in cases), key=_HEAT.__getitem__, default=Heat.CLEAR),
            open=len(cases),
            due_soon=_count(cases, Heat.DUE_SOON),
            overdue=_count(cases, Heat.OVERDUE),
            archived=state.archived if state else 0,
            cameras=len(cameras.tiles) if cameras else 0,
            cameras_live=cameras.live if cameras else 0,
            oldest_open_at=min((row.opened_at for row in cases), default=None),
            points=shape.points,
            x=shape.x,
            y=shape.y,
        )

    def _camera_group(self, grid_id: str, model: Model, now: datetime) -> CameraGroup:
        tiles = [self._tile(camera, model, now) for camera in self._registry.cameras_of[grid_id]]
        live = sum(tile.eye is Eye.LIVE for tile in tiles)
        return CameraGroup(grid_id=grid_id, grid=self._grid_name(grid_id), live=live, tiles=tiles)

    def _tile(self, camera: Camera, model: Model, now: datetime) -> CameraTile:
        seen = model.cameras.get(camera.id)
        if seen is None:
            return CameraTile(
                camera_id=camera.id, name=camera.name, eye=Eye.UNHEARD, fps=None, since=None, heard_at=None
            )
        is_silent = now - seen.heard_at > self._silent_after
        return CameraTile(
            camera_id=camera.id,
            name=camera.name,
            eye=Eye.SILENT if is_silent else Eye(seen.status.value),
            fps=round(seen.telemetry.fps) if seen.status is CameraStatus.LIVE and not is_silent else None,
            since=seen.heard_at if is_silent else seen.since,
            heard_at=seen.heard_at,
        )

    def _alerts(self, model: Model, focus: str | None) -> list[AlertRow]:
        chosen = [alert for alert in model.alerts.values() if focus in (None, alert.grid_id)]
        chosen.sort(key=lambda alert: (alert.at, alert.alert_id), reverse=True)
        return [self._alert(alert) for alert in chosen[:ALERTS_SHOWN]]

    def _alert(self, alert: Alert) -> AlertRow:
        camera = self._registry.cameras.get(alert.camera_id or "")
        subject = (
            self._item_name(alert.item_code) if alert.item_code else Names(alert.camera_id or "", alert.camera_id or "")
        )
        if camera is not None:
            subject = Names(f"{camera.name} {camera.id}", camera.id)
        return AlertRow(
            alert_id=alert.alert_id,
            kind=alert.kind,
            status=alert.status,
            at=alert.at,
            grid_id=alert.grid_id,
            grid=self._grid_name(alert.grid_id),
            subject=subject,
            case_id=alert.case_id,
            level=alert.level,
            repeat=alert.repeat,
        )


def pressing(rows: Iterable[CaseRow], *, every: bool) -> list[CaseRow]:
    """Return the cases that need somebody now, most pressing first; with *every*, the calm ones after them.

    A case without a clock is nobody's: it needs a dispatch, and comes after those with a deadline.
    """
    chosen = [row for row in rows if every or row.due_at is None or row.heat is not Heat.OPEN]
    return sorted(chosen, key=lambda row: (row.due_at is None, row.due_at or row.opened_at, row.case_id))


def short_label(grid: Grid, village: str) -> Names:
    """Return the grid's name without its village's, as the map has little room."""
    return Names(grid.name.removeprefix(_bare(village)) or grid.name, grid.name_en.rpartition(" · ")[2])


def _bare(name: str) -> str:
    """Return *name* without what stands in brackets."""
    return re.sub(r"[((].*?[))]", "", name)


def _count(rows: Iterable[CaseRow], wanted: Heat) -> int:
    return sum(row.heat is wanted for row in rows)


def _counts(rows: list[CaseRow], groups: list[CameraGroup], topics: list[TopicRow]) -> Counts:
    return Counts(
        open=len(rows),
        due_soon=_count(rows, Heat.DUE_SOON),
        overdue=_count(rows, Heat.OVERDUE),
        cameras=sum(len(group.tiles) for group in groups),
        cameras_live=sum(group.live for group in groups),
        pipeline=health.worst([cell.pace for row in topics for cell in row.readers]),
    )


def _topic(topic: Topic, model: Model) -> TopicRow:
    samples = list(model.samples)
    groups = [group for group, topics in health.READERS.items() if topic.name in topics]
    readers = [
        ReaderCell(
            group=group,
            lag=sum(samples[-1].lags(group, topic.name)),
            time_lag=health.time_lag(samples, group, topic.name) or health.TimeLag(ms=0),
            pace=health.pace(samples, group, topic.name),
        )
        for group in groups
    ]
    return TopicRow(
        topic=topic.name,
        purpose=Names(topic.zh, topic.en),
        rate_per_s=health.rate_per_s(samples, topic.name),
        rates=health.rates_per_s(samples, topic.name, RATES_SHOWN),
        readers=readers,
        pace=health.worst([cell.pace for cell in readers]) if readers else None,
    )
