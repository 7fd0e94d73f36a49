"""When bad records are a bad deploy."""

from infra.deadletters import MOST, WINDOW, DeadLetterLimit


def first_stop(offsets: range) -> int | None:
    limit = DeadLetterLimit()
    return next((offset for offset in offsets if limit.is_exceeded_by(offset)), None)


def test_bad_records_in_a_row() -> None:
    """Fifty are borne, the next one is not, wherever in the topic it is."""
    assert first_stop(range(7000, 9000)) == 7000 + MOST


def test_one_in_twenty_is_borne_one_more_is_not() -> None:
    """5 % for ever is no reason to stop; a little more than that is."""
    assert first_stop(range(0, 100_000, WINDOW // MOST)) is None
    assert first_stop(range(0, 100_000, WINDOW // MOST - 1)) is not None
