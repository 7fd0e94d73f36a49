"""From records to rows, without a broker: what becomes a row, what does not, and why."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from consumers.warehouse.batch import MAX_RECORDS, Batch
from consumers.warehouse.domain import rows
from schemas import codec
from schemas.cameras import CameraStatus
from schemas.topics import CAMERA_TELEMETRY, CASES, DEAD_LETTERS, REPORTS, Topic
from tests.builders import GRID, NINE, a_case, a_report

NINE_MS = int(NINE.timestamp() * 1000)


class ARecord(Struct, frozen=True, kw_only=True):
    """A record as the sink reads it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def a_record(value: bytes | None, offset: int = 7, at_ms: int = NINE_MS, **headers: str) -> ARecord:
    """Return a record with only what matters."""
    pairs: list[tuple[str, bytes | None]] = [(name, text.encode()) for name, text in headers.items()]
    return ARecord(offset=offset, timestamp=at_ms, key=b"k", value=value, headers=pairs)


def telemetry(**changes: Any) -> bytes:
    """Return one second of a camera as JSON."""
    fields = {"camera_id": "cam-1", "grid_id": GRID, "observed_at": NINE, "status": CameraStatus.LIVE, "fps": 25.0}
    fields |= {"bitrate_bps": 1, "lost_packets": 0, "reconnects": 0, "frame_age_ms": None}
    return codec.encode(fields | changes)


def as_dicts(topic: Topic, *records: ARecord) -> list[dict[str, Any]]:
    """Return the rows of *records* as Arrow would send them."""
    content, rejects = rows.read(topic, 2, records)
    assert not rejects
    return content.to_pylist()  # type: ignore[no-any-return]


def test_a_row_says_where_its_record_was() -> None:
    """Topic, partition, offset, append time and id: every row can be traced to its record."""
    [row] = as_dicts(REPORTS, a_record(codec.encode(a_report("r-1")), ce_id="r-1"))

    assert (row["topic"], row["partition"], row["offset"]) == ("reports.v1", 2, 7)
    assert (row["appended_at"], row["ce_id"], row["report_id"]) == (NINE, "r-1", "r-1")


def test_a_record_without_an_id_is_known_by_its_place() -> None:
    """A foreign producer that leaves `ce_id` out loses nothing, and two of its records stay two."""
    value = codec.encode(a_report("r-1"))
    found = as_dicts(REPORTS, a_record(value, offset=1), a_record(value, offset=2))

    assert [row["ce_id"] for row in found] == ["reports.v1/2/1", "reports.v1/2/2"]


def test_nested_structs_become_columns_and_absence_becomes_null() -> None:
    """`timer.due_at` is `timer_due_at`; a case whose clock has stopped has nulls there."""
    running = a_case()
    stopped = msgspec.structs.replace(running, timer=None)
    found = as_dicts(CASES, *(a_record(codec.encode(case)) for case in (running, stopped)))

    assert running.timer is not None
    assert [row["timer_due_at"] for row in found] == [running.timer.due_at, None]
    assert [row["stage"] for row in found] == [running.stage.value] * 2


@pytest.mark.parametrize("bad", [(), (0,), (6,), (2, 3), tuple(range(7))])
def test_every_undecodable_record_is_rejected_and_every_other_one_is_a_row(bad: tuple[int, ...]) -> None:
    """Bad records stop nothing, wherever in a batch and however many they are; the order stays."""
    good = codec.encode(a_report("r-1"))
    records = [a_record(b"{" if offset in bad else good, offset=offset) for offset in range(7)]
    content, rejects = rows.read(REPORTS, 2, records)

    assert content["offset"].to_pylist() == [offset for offset in range(7) if offset not in bad]
    assert [(reject.record.offset, reject.error.reason) for reject in rejects] == [(n, "not_json") for n in bad]


def test_two_halves_of_a_record_do_not_make_one() -> None:
    """Records are decoded by the thousand, but each for itself."""
    whole = codec.encode(a_report("r-1"))
    _, rejects = rows.read(REPORTS, 2, [a_record(whole[:20]), a_record(whole[20:])])

    assert len(rejects) == 2


def test_a_number_beyond_64_bits_is_rejected_and_its_neighbours_are_rows() -> None:
    """JSON has no largest integer; a column has."""
    huge = a_record(telemetry().replace(b'"lost_packets":0', b'"lost_packets":' + b"9" * 30))
    content, rejects = rows.read(CAMERA_TELEMETRY, 2, [a_record(telemetry()), huge, a_record(telemetry())])

    assert content.num_rows == 2
    assert [(reject.record, reject.error.reason) for reject in rejects] == [(huge, "out_of_range")]


def test_a_tombstone_is_no_row_and_no_error() -> None:
    """A key leaves its compacted topic; the warehouse keeps the last row."""
    content, rejects = rows.read(CASES, 2, [a_record(None)])

    assert (content.num_rows, rejects) == (0, [])


def test_an_empty_value_on_an_append_only_topic_is_an_error() -> None:
    """Nobody deletes a report."""
    _, [reject] = rows.read(REPORTS, 2, [a_record(None)])

    assert reject.error.reason == "empty_value"


def test_a_dead_letter_is_kept_by_reason_and_place_never_by_content() -> None:
    """Its bytes may hold a phone number; so may its `detail`."""
    headers = {"ce_id": "d-1", "ce_source": "/gridwatch/sink", "reason": "not_json", "origin_topic": "reports.v1"}
    headers |= {
        "origin_partition": "3",
        "origin_offset": "9",
        "size_bytes": "11",
        "sha256": "ab",
        "detail": "13800001111",
    }
    [row] = as_dicts(DEAD_LETTERS, a_record(b"13800001111", **headers))

    assert (row["process"], row["reason"], row["origin_topic"]) == ("sink", "not_json", "reports.v1")
    assert (row["origin_partition"], row["origin_offset"], row["size_bytes"]) == (3, 9, 11)
    assert "13800001111" not in str(row)


@pytest.mark.parametrize("number", ["", "-1", "x", "9" * 40, "٣"])
def test_a_dead_letter_is_always_a_row(number: str) -> None:
    """Were it rejected, its own dead letter would come back for ever."""
    [row] = as_dicts(DEAD_LETTERS, a_record(None, origin_offset=number))

    assert row["origin_offset"] is None


def test_a_batch_goes_on_behind_its_last_record_of_each_partition() -> None:
    """What is committed is what was read, partition by partition; a record that is no row is passed, too."""
    batch = Batch()
    batch.add(REPORTS, 2, [a_record(b"", offset=offset) for offset in (4, 6)], now_s=0.0)
    batch.add(REPORTS, 2, [a_record(b"", offset=9)], now_s=0.0)
    batch.add(CASES, 1, [a_record(None, offset=3)], now_s=0.0)

    assert batch.next_offsets == {("reports.v1", 2): 10, ("cases.v1", 1): 4}
    assert batch.tables() == {}


def test_a_batch_is_due_half_a_second_after_its_first_record() -> None:
    """A slow trickle does not postpone the write."""
    batch = Batch()
    assert not batch.is_due(100.0)
    for now_s in (10.0, 10.4):
        batch.add(REPORTS, 2, [a_record(b"")], now_s)

    assert not batch.is_due(10.49)
    assert batch.is_due(10.5)


def test_a_batch_is_due_at_once_when_it_is_full() -> None:
    """By number of records, whatever their size, so that memory is bounded."""
    batch = Batch()
    batch.add(CASES, 2, [a_record(None)] * MAX_RECORDS, now_s=0.0)

    assert batch.is_due(0.0)


def test_a_batch_knows_the_oldest_record_of_each_topic() -> None:
    """Freshness is told by it once the rows are in."""
    batch = Batch()
    for partition, at_ms in ((0, NINE_MS + 5), (1, NINE_MS), (2, NINE_MS + 9)):
        batch.add(CASES, partition, [a_record(None, at_ms=at_ms)], now_s=0.0)

    assert batch.oldest_ms == {"cases.v1": NINE_MS}


def test_instants_are_stored_in_utc_to_the_microsecond() -> None:
    """Whatever zone the producer wrote."""
    value = codec.encode(a_report("r-1")).replace(b"2026-03-09T09:00:00Z", b"2026-03-09T17:00:00.123456+08:00")
    [row] = as_dicts(REPORTS, a_record(value))

    assert row["occurred_at"] == datetime(2026, 3, 9, 9, 0, 0, 123456, tzinfo=UTC)
