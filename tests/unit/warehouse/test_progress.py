"""What the sink says of itself, by topic and interval."""

from consumers.warehouse.domain.progress import EVERY_S, Interval, Written
from tests.builders import NINE


def written(records: int = 1, freshness_ms: int = 0, write_ms: int = 0) -> Written:
    """Return one write."""
    return Written(records=records, rejects=0, freshness_ms=freshness_ms, write_ms=write_ms)


def test_writes_of_an_interval_add_up_and_the_worst_times_stand() -> None:
    """A short stall is not averaged away."""
    interval = Interval("sink-1", now_s=0.0)
    for one in (written(2, 700, 30), written(3, 90, 400)):
        interval.add("reports.v1", one)

    [row] = interval.close(NINE, EVERY_S, {"reports.v1": 7}).to_pylist()
    assert (row["sink"], row["topic"], row["at"]) == ("sink-1", "reports.v1", NINE)
    assert (row["records"], row["freshness_ms"], row["write_ms"], row["lag"]) == (5, 700, 400, 7)


def test_an_interval_ends_after_ten_seconds_and_starts_anew() -> None:
    """What was told is not told again."""
    interval = Interval("sink-1", now_s=100.0)
    interval.add("reports.v1", written())
    assert not interval.is_due(109.9)
    assert interval.is_due(110.0)

    interval.close(NINE, 110.0, {})
    interval.add("cases.v1", written(4))
    assert not interval.is_due(119.9)
    [row] = interval.close(NINE, 120.0, {}).to_pylist()
    assert (row["topic"], row["records"]) == ("cases.v1", 4)


def test_nothing_is_told_of_a_sink_that_wrote_nothing() -> None:
    """A quiet night is not ten thousand empty rows."""
    assert not Interval("sink-1", now_s=0.0).is_due(3600.0)
