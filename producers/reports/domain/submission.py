"""From what a phone sends to what travels: check, scrub, split off the reporter. Pure."""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from pipelines.domain import ids
from producers.reports.domain.scrub import scrub
from producers.reports.domain.wire import Moment, checked
from schemas.cases import REPORTER, Closure, Command, Move, Satisfaction
from schemas.errors import RecordError
from schemas.fields import CaseId, GridId, Instant, ItemCode, MediaRef, PersonId, RecordId, Text
from schemas.policy import Policy
from schemas.registry import Registry
from schemas.reports import Channel, Location, Report, Reporter, Urgency, Visibility


class Source(StrEnum):
    """Who may send a report; cameras have a topic of their own."""

    WORKER = "worker"
    RESIDENT = "resident"


class ReportersMove(StrEnum):
    """What a reporter may ask of the case they reported."""

    FEEDBACK = Move.FEEDBACK
    REOPEN = Move.REOPEN
    REMARK = Move.REMARK


class Contact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a reporter; goes to the restricted topic alone."""

    name: Annotated[str, Meta(max_length=80)] | None = None
    phone: Annotated[str, Meta(max_length=40)] | None = None
    email: Annotated[str, Meta(max_length=120)] | None = None


class Submission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /reports`."""

    grid_id: GridId
    item_code: ItemCode
    channel: Source
    occurred_at: Moment
    description: Text
    report_id: RecordId | None = None
    urgency: Urgency = Urgency.NORMAL
    location: Location | None = None
    reported_by: PersonId | None = None
    reporter: Contact | None = None
    media: Annotated[list[MediaRef], Meta(max_length=10)] = []
    settled: Annotated[Text | None, Meta(description="自行处置: how the worker settled it on the spot")] = None
    visibility: Annotated[Visibility, Meta(description="private 不公开: text, place and sender stay restricted")] = (
        Visibility.PUBLIC
    )


class CommandRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /cases/{case_id}/commands`."""

    move: Move
    by: PersonId
    command_id: RecordId | None = None
    assignee: PersonId | None = None
    note: Text | None = None
    closure: Closure | None = None
    duplicate_of: CaseId | None = None
    extend_ms: Annotated[int, Meta(ge=1)] | None = None
    satisfaction: Satisfaction | None = None


class ReporterRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /follow/{case_id}`."""

    move: ReportersMove
    request_id: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,40}$")] | None = None
    note: Text | None = None
    satisfaction: Satisfaction | None = None


def digest(submission: Submission) -> str:
    """Return what tells two reports under one id apart: 16 hex digits.

    Name and phone do not count: the digest is public, and the eleven digits of a
    number that is the only unknown in it can be found by trying. Nor does the id,
    which may come in a header once and in the body the next time. Of a private report
    what it says does not count either, so another text under its id passes for a repeat.
    """
    return _digest(_public(submission))


def _digest(public: Submission) -> str:
    told = replace(public, report_id=None, reporter=None)
    return sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:16]


def accept(
    submission: Submission, *, report_id: str, received_at: datetime, registry: Registry, policy: Policy
) -> tuple[Report, Reporter | None]:
    """Return the record to publish, and apart from it who reported.

    Raises:
        RecordError: the instant is none; grid, item or worker is unknown; the id is of those that only
            reporters' own remarks have; `field` says which.
    """
    _check_id(report_id, "report_id")
    _check_grid(submission.grid_id, registry, "grid_id")
    _check(submission, registry, policy)
    public = _public(submission)
    report = Report(
        report_id=report_id,
        grid_id=submission.grid_id,
        item_code=submission.item_code,
        channel=Channel(submission.channel),
        occurred_at=checked(submission.occurred_at, Instant, "occurred_at"),
        received_at=received_at,
        description=public.description,
        digest=_digest(public),
        urgency=public.urgency,
        location=public.location,
        reported_by=public.reported_by,
        media=public.media,
        settled=public.settled,
        visibility=public.visibility,
    )
    return report, _reporter(submission, report_id)


def _check_id(found: str, field: str) -> None:
    """Refuse the ids of `reporters_command_id`: under one of them anybody could speak for a case's reporter."""
    if found.startswith(f"{REPORTER}:"):
        raise RecordError("invalid_field", f"begins with {REPORTER}:", field)


def _public(submission: Submission) -> Submission:
    """Return what may travel of *submission*: free text scrubbed, and of a private one nothing but what it is."""
    if submission.visibility is Visibility.PRIVATE:
        return replace(submission, description="", location=None, reported_by=None, media=[], settled=None)
    settled = None if submission.settled is None else scrub(submission.settled)
    return replace(submission, description=scrub(submission.description), settled=settled)


def _reporter(submission: Submission, report_id: str) -> Reporter | None:
    contact = submission.reporter or Contact()
    if submission.visibility is Visibility.PRIVATE:
        return Reporter(
            report_id=report_id,
            name=contact.name,
            phone=contact.phone,
            email=contact.email,
            reported_by=submission.reported_by,
            description=submission.description,
            location=submission.location,
            media=submission.media,
        )
    if submission.reporter is None:
        return None
    return Reporter(report_id=report_id, name=contact.name, phone=contact.phone, email=contact.email)


def _check(submission: Submission, registry: Registry, policy: Policy) -> None:
    if submission.item_code not in policy.items:
        raise RecordError("unknown_item", f"no item {submission.item_code} in the catalogue", "item_code")
    if submission.channel is Source.RESIDENT and submission.reported_by is not None:
        raise RecordError("not_a_worker", "a resident's report names no worker", "reported_by")
    if submission.channel is Source.RESIDENT and submission.settled is not None:
        raise RecordError("not_a_worker", "only a worker settles on the spot", "settled")
    if submission.visibility is Visibility.PRIVATE and submission.settled is not None:
        raise RecordError("settled", "what was settled on the spot is verified by others, and not private", "settled")
    if submission.channel is Source.WORKER and not registry.serves(submission.reported_by or "", submission.grid_id):
        raise RecordError("not_on_roster", "no such worker serves this grid", "reported_by")


def _check_grid(grid_id: str, registry: Registry, field: str) -> None:
    if grid_id not in registry.grids:
        raise RecordError("unknown_grid", f"no grid {grid_id} in the registry", field)


def command(
    request: CommandRequest, *, case_id: CaseId, command_id: str, requested_at: datetime, registry: Registry
) -> Command:
    """Return the command to publish; the note loses its phone numbers.

    Raises:
        RecordError: the case's grid is unknown, or the command or its id poses as the reporter's; whether the
            case exists is for its lane to say.
    """
    if request.by == REPORTER:
        raise RecordError("not_on_roster", "a reporter asks with the case's code, at /follow", "by")
    _check_id(command_id, "command_id")
    _check_grid(case_id[:15], registry, "case_id")
    return Command(
        command_id=command_id,
        case_id=case_id,
        move=request.move,
        by=request.by,
        requested_at=requested_at,
        assignee=request.assignee,
        note=None if request.note is None else scrub(request.note),
        closure=request.closure,
        duplicate_of=request.duplicate_of,
        extend_ms=request.extend_ms,
        satisfaction=request.satisfaction,
    )


def reporters_command(request: ReporterRequest, case_id: CaseId, *, request_id: str, requested_at: datetime) -> Command:
    """Return the reporter's command to publish; asked again it has the same id. The note loses its phone numbers."""
    return Command(
        command_id=ids.reporters_command_id(case_id, request_id),
        case_id=case_id,
        move=Move(request.move),
        by=REPORTER,
        requested_at=requested_at,
        note=None if request.note is None else scrub(request.note),
        satisfaction=request.satisfaction,
    )
