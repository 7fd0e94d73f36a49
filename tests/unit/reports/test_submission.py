"""What the intake makes of a report and of a command."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from producers.reports.domain.submission import (
    CommandRequest,
    Contact,
    Source,
    Submission,
    accept,
    command,
    digest,
)
from schemas import codec
from schemas.cases import Move
from schemas.errors import RecordError
from schemas.reports import Location, Report, Reporter, Visibility
from schemas.topics import CASE_COMMANDS, REPORTERS, REPORTS
from tests.builders import GRID, NINE, POLICY, REGISTRY, WORKER

OTHER_VILLAGE = "610117001002001"
PHONE = "13900001234"


def a_submission(**changes: Any) -> Submission:
    fields: dict[str, Any] = {
        "grid_id": GRID,
        "item_code": "01001",
        "channel": Source.WORKER,
        "occurred_at": "2026-03-09T17:00:00+08:00",
        "description": "演示",
        "reported_by": WORKER,
    }
    return Submission(**fields | changes)


def accepted(submission: Submission) -> tuple[Report, Reporter | None]:
    return accept(submission, report_id="r-1", received_at=NINE, registry=REGISTRY, policy=POLICY)


def test_the_reporter_is_split_off() -> None:
    """Name and phone are on the record of the restricted topic, and not on the report."""
    submission = a_submission(
        channel=Source.RESIDENT,
        reported_by=None,
        description=f"请打{PHONE}",
        reporter=Contact(name="演示居民", phone=PHONE),
    )

    report, reporter = accepted(submission)

    assert reporter == Reporter(report_id="r-1", name="演示居民", phone=PHONE)
    assert PHONE not in codec.encode(report).decode()
    assert "演示居民" not in codec.encode(report).decode()


def test_a_report_without_reporter_makes_one_record() -> None:
    """Nothing is written about a reporter who gave no contact."""
    assert accepted(a_submission())[1] is None


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"occurred_at": "2026-03-09T09:00:00"}, "invalid_field", "occurred_at"),
        ({"occurred_at": "yesterday"}, "invalid_field", "occurred_at"),
        ({"grid_id": "9" * 15}, "unknown_grid", "grid_id"),
        ({"item_code": "99999"}, "unknown_item", "item_code"),
        ({"reported_by": None}, "not_on_roster", "reported_by"),
        ({"reported_by": "nobody"}, "not_on_roster", "reported_by"),
        ({"grid_id": OTHER_VILLAGE}, "not_on_roster", "reported_by"),
        ({"channel": Source.RESIDENT}, "not_a_worker", "reported_by"),
    ],
)
def test_what_does_not_exist_is_refused(changes: dict[str, Any], reason: str, field: str) -> None:
    """The refusal names the reason and the field."""
    with pytest.raises(RecordError) as refused:
        accepted(a_submission(**changes))

    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_nobody_takes_an_id_of_the_reporters() -> None:
    """Under one, a stranger's report would read as what the case's reporter added."""
    with pytest.raises(RecordError) as refused:
        accept(a_submission(), report_id="reporter:q26kltslpg:x", received_at=NINE, registry=REGISTRY, policy=POLICY)

    assert refused.value.field == "report_id"


@pytest.mark.parametrize(
    "changes",
    [
        {"report_id": "r-1"},
        {"reporter": Contact(phone="13900005678")},
        {"description": "演示13900005678", "reporter": None},
    ],
)
def test_the_digest_tells_nothing_about_people(changes: dict[str, Any]) -> None:
    """Id, name and phone do not move it: it is public, and a phone number could be found by trying."""
    base = a_submission(description=f"演示{PHONE}" if "description" in changes else "演示")

    assert digest(replace(base, **changes)) == digest(base)


@pytest.mark.parametrize(
    "changes",
    [{"item_code": "01002"}, {"description": "另一件"}, {"occurred_at": "2026-03-09T17:00:01+08:00"}],
)
def test_the_digest_tells_two_reports_apart(changes: dict[str, Any]) -> None:
    """Other content under the same id has another digest: the engine refuses it as a conflict."""
    assert digest(a_submission(**changes)) != digest(a_submission())


def test_accepted_records_are_what_the_topics_take() -> None:
    """What goes out can be read back under the contract."""
    report, reporter = accepted(a_submission(reporter=Contact(phone=PHONE)))

    assert codec.decode(REPORTS, codec.encode(report)) == report
    assert codec.decode(REPORTERS, codec.encode(reporter)) == reporter


def test_a_command_loses_phone_numbers_and_keeps_its_case() -> None:
    """A note is free text too; the record is one that the topic takes."""
    request = CommandRequest(move=Move.HANDLE, by=WORKER, note=f"已联系{PHONE}")

    asked = command(request, case_id=f"{GRID}-aaaaaaaaaa", command_id="c-1", requested_at=NINE, registry=REGISTRY)

    assert asked.note == "已联系[电话]"
    assert codec.decode(CASE_COMMANDS, codec.encode(asked)) == asked


def test_a_command_on_an_unknown_grid_is_refused() -> None:
    """No lane would own it: it would end as a dead letter, and the client would wait for ever."""
    request = CommandRequest(move=Move.HANDLE, by=WORKER)

    with pytest.raises(RecordError) as refused:
        command(request, case_id=f"{'9' * 15}-aaaaaaaaaa", command_id="c", requested_at=NINE, registry=REGISTRY)

    assert (refused.value.reason, refused.value.field) == ("unknown_grid", "case_id")


@pytest.mark.parametrize("more", [b'"phone":"1"', b'"report_id":""', b'"report_id":"a b"', b'"urgency":"very"'])
def test_bodies_are_held_to_the_contract(more: bytes) -> None:
    """Unknown fields and values outside their patterns are no submission."""
    body = msgspec.json.encode(a_submission())[:-1] + b"," + more + b"}"

    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Submission)


def test_of_a_private_report_only_what_kind_and_which_grid_travels() -> None:
    """Text, place, pictures and whoever sent it are on the restricted topic alone."""
    said: dict[str, Any] = {
        "description": f"某某家中聚众赌博,请打{PHONE}",
        "location": Location(lat=34.53, long=109.09),
        "media": ["photo:" + "a" * 64],
    }
    submission = a_submission(visibility=Visibility.PRIVATE, **said)

    report, reporter = accepted(submission)

    assert reporter == Reporter(report_id="r-1", reported_by=WORKER, **said)
    assert (report.visibility, report.grid_id, report.item_code) == (Visibility.PRIVATE, GRID, "01001")
    assert (report.description, report.location, report.media, report.reported_by) == ("", None, [], None)
    assert report.digest == accepted(replace(submission, description="别的"))[0].digest, (
        "no text can be tried against it"
    )


def test_what_was_settled_on_the_spot_is_not_private() -> None:
    """Somebody else verifies it, and must know what."""
    with pytest.raises(RecordError):
        accepted(a_submission(visibility=Visibility.PRIVATE, settled="已劝离"))
