"""Which alerts follow from what happened. Pure; people appear as roster ids only."""

from collections.abc import Iterator
from datetime import datetime

from pipelines.domain import ids, sla
from pipelines.domain.cases import Outcome
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraEvent, CameraEventKind, Phase
from schemas.cases import Case, LedgerEvent, LedgerKind, Level, Timer
from schemas.grid import Registry, Role

_KINDS = {
    LedgerKind.WARNED: AlertKind.SLA_WARNING,
    LedgerKind.BREACHED: AlertKind.SLA_BREACH,
    LedgerKind.ESCALATED: AlertKind.SLA_ESCALATION,
    LedgerKind.REMINDED: AlertKind.SLA_ESCALATION,
    LedgerKind.SUPERVISED: AlertKind.SLA_SUPERVISION,
}
_TOLD = {
    Level.VILLAGE: (Role.FULL_TIME, Role.GRID_HEAD),
    Level.STREET: (Role.STREET_CENTRE,),
    Level.DISTRICT: (Role.DISTRICT_CENTRE,),
    Level.DEPARTMENT: (Role.DEPARTMENT,),
}


def sla_alerts(before: Case | None, outcome: Outcome, registry: Registry) -> Iterator[Alert]:
    """Yield an alert for each step of a clock, and one `resolved` when a breached clock stops."""
    timer = before.timer if before else None
    level = before.level if before else Level.VILLAGE
    for event in outcome.events:
        if event.kind in _KINDS:
            yield _step_alert(event, level, outcome.case, registry)
        level = event.level
    if before is not None and timer is not None and sla.is_breached(before) and _stopped(timer, outcome.case):
        yield _resolved(before, timer, outcome.case.updated_at)


def _stopped(timer: Timer, after: Case) -> bool:
    return after.timer is None or after.timer.armed != timer.armed


def _step_alert(event: LedgerEvent, from_level: Level, case: Case, registry: Registry) -> Alert:
    timer = case.timer
    assert timer is not None  # noqa: S101 - a step leaves its timer on the case
    told = event.told or event.level
    people = [p.id for role in _TOLD[told] for p in registry.people_for(event.grid_id, role)]
    own = [event.assignee] if event.assignee and told is Level.VILLAGE else []
    return Alert(
        alert_id=event.event_id,
        group_key=ids.clock_key(case.case_id, timer),
        status=AlertStatus.FIRING,
        kind=AlertKind.SLA_SUPERVISION if event.told else _KINDS[event.kind],
        grid_id=event.grid_id,
        at=event.at,
        case_id=event.case_id,
        item_code=event.item_code,
        clock=event.clock,
        level=told,
        from_level=from_level if event.kind is LedgerKind.ESCALATED else None,
        due_at=event.due_at,
        repeat=event.repeat,
        notify=[*own, *people],
    )


def _resolved(case: Case, timer: Timer, at: datetime) -> Alert:
    key = ids.clock_key(case.case_id, timer)
    return Alert(
        alert_id=f"{key}:resolved",
        group_key=key,
        status=AlertStatus.RESOLVED,
        kind=AlertKind.SLA_BREACH,
        grid_id=case.grid_id,
        at=at,
        case_id=case.case_id,
        item_code=case.item_code,
        clock=timer.clock,
        level=case.level,
        due_at=timer.due_at,
    )


def camera_alert(event: CameraEvent) -> Alert | None:
    """Return the alert of a camera event's opening or end; updates raise none."""
    if event.phase is Phase.UPDATE:
        return None
    offline = event.kind is CameraEventKind.OFFLINE
    return Alert(
        alert_id=f"{event.event_id}:{event.phase}",
        group_key=event.event_id,
        status=AlertStatus.FIRING if event.phase is Phase.OPEN else AlertStatus.RESOLVED,
        kind=AlertKind.CAMERA_OFFLINE if offline else AlertKind.ACTIVITY,
        grid_id=event.grid_id,
        at=event.occurred_at,
        camera_id=event.camera_id,
        detail=event.detail,
    )
