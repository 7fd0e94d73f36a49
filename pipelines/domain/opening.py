"""A case is opened: what it is made of, and who is sent first. Pure."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain import ids, sla
from pipelines.domain.cases import Cause, Outcome
from schemas.cases import Case, Clock, LedgerEvent, LedgerKind, Level, Stage, Timer
from schemas.fields import CameraId
from schemas.grid import Role
from schemas.policy import Policy, Severity
from schemas.registry import Registry
from schemas.reports import Channel, Location, Urgency, Visibility


class Opening(Struct, frozen=True, kw_only=True):
    """What a new case is made of, whichever source it came from."""

    grid_id: str
    item_code: str
    channel: Channel
    origin_id: str
    summary: str
    occurred_at: datetime
    urgency: Urgency = Urgency.NORMAL
    camera_id: CameraId | None = None
    location: Location | None = None
    reported_by: str | None = None
    settled: str | None = None  # 自行处置: how the reporter settled it
    similar_to: str | None = None
    visibility: Visibility = Visibility.PUBLIC


def open_case(opening: Opening, cause: Cause, policy: Policy, policy_id: str, registry: Registry) -> Outcome:
    """Open a case and dispatch it to who must go first, if the roster has one.

    What a worker settled on the spot (自行处置) waits for verification at once.
    """
    opening = _withheld(opening)
    grid_id, at = opening.grid_id, cause.at
    case_id = ids.case_id(grid_id, opening.origin_id)
    event = _opening_line(opening, cause, case_id)
    settler = opening.reported_by if opening.settled is not None else None
    person: str | None
    if settler is not None and registry.serves(settler, grid_id, at):
        person, stage, clock, kind = settler, Stage.VERIFYING, Clock.VERIFY, LedgerKind.HANDLED
    else:
        settler = None
        person = first_responder(opening, at, policy, registry)
        stage, clock, kind = Stage.DISPATCHED, Clock.ACKNOWLEDGE, LedgerKind.DISPATCHED
    if person is None:  # nobody to send: the centre must take it up
        timer = sla.start(event, Clock.ACCEPT, armed=1, at=at, policy=policy)
        events = [replace(event, clock=Clock.ACCEPT, due_at=timer.due_at)]
    else:
        timer = sla.start(event, clock, armed=2, at=at, policy=policy)
        second = replace(
            event,
            event_id=ids.ledger_id(cause.id, case_id, 2),
            number=2,
            kind=kind,
            stage=stage,
            by=settler,
            assignee=person,
            clock=clock,
            due_at=timer.due_at,
            note=opening.settled if settler is not None else None,
            related_to=None,
        )
        events = [event, second]
    return Outcome(case=_opened(opening, events, timer, policy_id, handler=settler), events=events)


def _opened(opening: Opening, lines: list[LedgerEvent], timer: Timer, policy_id: str, *, handler: str | None) -> Case:
    """Return the case as the *lines* of its opening leave it."""
    first, last = lines[0], lines[-1]
    return Case(
        case_id=first.case_id,
        grid_id=first.grid_id,
        item_code=opening.item_code,
        channel=opening.channel,
        urgency=opening.urgency,
        origin_id=opening.origin_id,
        summary=opening.summary,
        stage=last.stage,
        level=Level.VILLAGE,
        version=last.number,
        policy=policy_id,
        occurred_at=opening.occurred_at,
        opened_at=first.at,
        updated_at=first.at,
        assignee=last.assignee,
        handler=handler,
        camera_id=opening.camera_id,
        timer=timer,
        location=opening.location,
        similar_to=opening.similar_to,
        visibility=opening.visibility,
    )


def _withheld(opening: Opening) -> Opening:
    """Return what may be known of *opening*: of a private one, no text, no place and nobody's id."""
    if opening.visibility is Visibility.PUBLIC:
        return opening
    return replace(opening, summary="", location=None, reported_by=None, settled=None, similar_to=None)


def _opening_line(opening: Opening, cause: Cause, case_id: str) -> LedgerEvent:
    return LedgerEvent(
        event_id=ids.ledger_id(cause.id, case_id, 1),
        case_id=case_id,
        grid_id=opening.grid_id,
        number=1,
        kind=LedgerKind.OPENED,
        at=cause.at,
        stage=Stage.REPORTED,
        level=Level.VILLAGE,
        item_code=opening.item_code,
        channel=opening.channel,
        by=opening.reported_by,
        related_to=opening.similar_to,
    )


def first_responder(opening: Opening, at: datetime, policy: Policy, registry: Registry) -> str | None:
    """Return who is sent first: the grid's part-time worker, else the village's full-time one.

    A major issue that a part-time worker reports goes to the full-time one at once. Who is away
    has their substitute go.
    """
    roles: tuple[Role, ...] = (Role.PART_TIME, Role.FULL_TIME)
    reporter = registry.people.get(opening.reported_by or "")
    if (
        reporter is not None
        and reporter.role is Role.PART_TIME
        and policy.items[opening.item_code].severity is Severity.MAJOR
    ):
        roles = (Role.FULL_TIME, Role.PART_TIME)
    for role in roles:
        for person in registry.people_for(opening.grid_id, role):
            acting = registry.on_duty(person.id, at)
            if acting is not None:
                return acting
    return None
