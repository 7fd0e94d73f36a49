"""What makes two records one row."""

import pytest
from msgspec.structs import replace

from consumers.warehouse.domain.identity import Mark, identity_of
from schemas import codec
from schemas.errors import RecordError
from schemas.topics import ALERTS_SLA, CAMERA_TELEMETRY, CASES, REPORTS, Topic
from tests.builders import a_case
from tests.unit.warehouse.test_rows import ARecord, a_record


def mark(topic: Topic, record: ARecord) -> Mark:
    """Return the mark of a record in partition 1."""
    return identity_of(topic).mark(topic, 1, record)


@pytest.mark.parametrize("topic", [REPORTS, ALERTS_SLA])
def test_an_event_is_known_by_its_id_wherever_it_lies(topic: Topic) -> None:
    """A repeat is the same row; its value is not even looked at."""
    assert mark(topic, a_record(b"", offset=1, ce_id="a")) == mark(topic, a_record(b"{", offset=2, ce_id="a"))
    assert mark(topic, a_record(b"", ce_id="a")) != mark(topic, a_record(b"", ce_id="b"))


def test_a_second_of_a_camera_is_known_by_its_place() -> None:
    """So it is in its table."""
    assert mark(CAMERA_TELEMETRY, a_record(b"", offset=1, ce_id="a")) != mark(
        CAMERA_TELEMETRY, a_record(b"", offset=2, ce_id="a")
    )


def test_a_case_is_known_by_its_number_and_its_greater_version_stands() -> None:
    """Versions of one case share the key."""
    case = a_case()
    first, second = (
        mark(CASES, a_record(codec.encode(replace(case, version=version)), ce_id=str(version))) for version in (3, 4)
    )

    assert first.key == second.key
    assert (first.version, second.version) == (3, 4)


def test_a_case_that_cannot_be_read_has_no_mark() -> None:
    """It is a dead letter, not a missing row."""
    with pytest.raises(RecordError, match="not_json"):
        mark(CASES, a_record(b"{"))
