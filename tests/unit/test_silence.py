"""Cameras nobody hears of."""

from datetime import timedelta

from pipelines.domain import silence
from pipelines.domain.silence import Watched
from schemas.alerts import AlertStatus
from schemas.cameras import CameraStatus
from tests.builders import GRID, NINE, seconds

LIMIT = timedelta(seconds=15)


def heard(after_s: float) -> Watched:
    return Watched(camera_id="cam-1", grid_id=GRID, heard_at=NINE + seconds(after_s), status=CameraStatus.LIVE)


def test_a_tick_or_the_next_record_finds_the_same_silence() -> None:
    """Live, a tick announces it and the next record ends it; in a replay the record alone says both, byte-equal."""
    quiet, fired = silence.listen(heard(0), NINE + seconds(15.1), LIMIT)
    _, ended = silence.hear(quiet, heard(40), LIMIT)
    _, replayed = silence.hear(heard(0), heard(40), LIMIT)

    assert [*fired, *ended] == replayed
    assert [a.status for a in replayed] == [AlertStatus.FIRING, AlertStatus.RESOLVED]


def test_a_camera_that_says_something_in_time_is_not_silent() -> None:
    """A gap as long as the limit is no silence."""
    assert silence.listen(heard(0), NINE + seconds(15), LIMIT) == (heard(0), [])
    assert silence.hear(heard(0), heard(15), LIMIT) == (heard(15), [])


def test_a_silence_is_announced_once() -> None:
    """Further ticks of the same silence say nothing."""
    quiet, _ = silence.listen(heard(0), NINE + seconds(20), LIMIT)

    assert silence.listen(quiet, NINE + seconds(21), LIMIT) == (quiet, [])
    assert not quiet.is_live
