"""Which alerts follow from what happened. Pure; people appear as roster ids only."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from pipelines.domain import ids, sla
from pipelines.domain.cases import Outcome
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraEvent, CameraEventKind, Phase
from schemas.cases import Case, LedgerEvent, LedgerKind, Level, Stage, Timer
from schemas.grid import Role
from schemas.registry import Registry

_KINDS = {
    LedgerKind.WARNED: AlertKind.SLA_WARNING,
    LedgerKind.BREACHED: AlertKind.SLA_BREACH,
    LedgerKind.ESCALATED: AlertKind.SLA_ESCALATION,
    LedgerKind.REMINDED: AlertKind.SLA_ESCALATION,
    LedgerKind.NOTIFIED: AlertKind.SLA_SUPERVISION,
}
_TOLD = {
    Level.VILLAGE: (Role.FULL_TIME, Role.GRID_HEAD),
    Level.STREET: (Role.STREET_CENTRE,),
    Level.DISTRICT: (Role.DISTRICT_CENTRE,),
    Level.DEPARTMENT: (Role.DEPARTMENT,),
}


# Whom a supervision notice tells besides who has the case: the centre above its level.
_SUPERVISORS = {
    Level.VILLAGE: Role.STREET_CENTRE,
    Level.STREET: Role.DISTRICT_CENTRE,
    Level.DISTRICT: Role.DISTRICT_CENTRE,
    Level.DEPARTMENT: Role.DISTRICT_CENTRE,
}


def sla_alerts(before: Case | None, outcome: Outcome, registry: Registry) -> Iterator[Alert]:
    """Yield an alert for each step of a clock, and one `resolved` when a breached clock stops."""
    timer = before.timer if before else None
    level = before.level if before else Level.VILLAGE
    for event in outcome.events:
        if event.kind in _KINDS:
            yield _step_alert(event, level, outcome.case, registry)
        if event.kind is LedgerKind.SUPERVISED:
            yield _notice(event, outcome.case, registry)
        level = event.level
    if before is not None and before.supervisions and outcome.case.stage is Stage.ARCHIVED is not before.stage:
        key = ids.supervision_key(before)
        yield _resolved(before, key, AlertKind.SLA_SUPERVISION, outcome.case.updated_at)
    if before is not None and timer is not None and sla.is_breached(before) and _stopped(timer, outcome.case):
        resolved = _resolved(
            before, ids.clock_key(before.case_id, timer), AlertKind.SLA_BREACH, outcome.case.updated_at
        )
        yield replace(resolved, clock=timer.clock, due_at=timer.due_at)


def _stopped(timer: Timer, after: Case) -> bool:
    return after.timer is None or after.timer.armed != timer.armed


def _step_alert(event: LedgerEvent, from_level: Level, case: Case, registry: Registry) -> Alert:
    timer = case.timer
    assert timer is not None  # noqa: S101 - a step leaves its timer on the case
    told = event.told or event.level
    people = _on_duty(_TOLD[told], event, registry)
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
        notify=list(dict.fromkeys([*own, *people])),
    )


def _on_duty(roles: Sequence[Role], event: LedgerEvent, registry: Registry) -> list[str]:
    """Return who acts in *roles* for the grid when the event happened; who is away has their substitute told."""
    people = (person for role in roles for person in registry.people_for(event.grid_id, role))
    return [acting for person in people if (acting := registry.on_duty(person.id, event.at)) is not None]


def _notice(event: LedgerEvent, case: Case, registry: Registry) -> Alert:
    own = [event.assignee] if event.assignee else []
    people = _on_duty([_SUPERVISORS[event.level]], event, registry)
    return Alert(
        alert_id=event.event_id,
        group_key=ids.supervision_key(case),
        status=AlertStatus.FIRING,
        kind=AlertKind.SLA_SUPERVISION,
        grid_id=event.grid_id,
        at=event.at,
        case_id=event.case_id,
        item_code=event.item_code,
        level=event.level,
        notify=list(dict.fromkeys([*own, *people])),
    )


def _resolved(case: Case, key: str, kind: AlertKind, at: datetime) -> Alert:
    return Alert(
        alert_id=f"{key}:resolved",
        group_key=key,
        status=AlertStatus.RESOLVED,
        kind=kind,
        grid_id=case.grid_id,
        at=at,
        case_id=case.case_id,
        item_code=case.item_code,
        level=case.level,
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
