"""Records on the wire."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.errors import RecordError
from schemas.topics import REPORTS, TOPICS
from tests.builders import NINE, a_report


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        (None, "empty_value", None),
        (b"", "not_json", None),
        (b"{nope", "not_json", None),
        (b"\xff\xfe", "not_json", None),
        (b'{"unknown":' + b"[" * 100_000, "not_json", None),
        (b'{"report_id": "r"}', "invalid_field", None),
        (codec.encode(a_report("r")).replace(b"610117001001001", b"61"), "invalid_field", "$.grid_id"),
        (codec.encode(a_report("r")).replace(b"T09:00:00Z", b"T09:00:00"), "invalid_field", "$.occurred_at"),
    ],
)
def test_a_value_that_is_no_report_says_why(value: bytes | None, reason: str, field: str | None) -> None:
    """The error names the reason and, where one is at fault, the field."""
    with pytest.raises(RecordError) as caught:
        codec.decode(REPORTS, value)

    assert (caught.value.reason, caught.value.field) == (reason, field)


@given(st.binary(max_size=200))
def test_no_bytes_escape_the_error_tree(value: bytes) -> None:
    """Whatever the bytes, decoding gives a record or a `RecordError`."""
    with contextlib.suppress(RecordError):
        codec.decode(REPORTS, value)


def test_a_record_survives_the_wire() -> None:
    """What is encoded decodes to the same value, times with their zone."""
    report = a_report("r-1")

    assert codec.decode(REPORTS, codec.encode(report)) == report
    assert b'"occurred_at":"2026-03-09T09:00:00Z"' in codec.encode(report)


def test_headers_are_cloudevents_in_binary_mode() -> None:
    """The five attributes and the content type, as the Kafka binding names them."""
    headers = dict(codec.headers(REPORTS, "r-1", NINE, "intake"))

    assert headers == {
        "ce_id": b"r-1",
        "ce_type": b"gridwatch.reports.v1",
        "ce_source": b"/gridwatch/intake",
        "ce_time": b"2026-03-09T09:00:00Z",
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
    }


def test_every_topic_has_its_words_in_two_languages() -> None:
    """Names are unique and end in their version; purpose is given in Chinese and English."""
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    assert all(topic.zh and topic.en and topic.writer for topic in TOPICS)
