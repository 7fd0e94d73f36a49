"""Verdicts, rates and lags from windows of samples that a person can read off the page."""

from datetime import timedelta

import pytest

from consumers.dashboard.domain import health
from consumers.dashboard.domain.health import CASE_ENGINE, ENOUGH, READERS, SINK, WINDOW, Pace, Sample, TimeLag
from pipelines.agents.case_program import INPUTS
from schemas.topics import REPORTS, TOPICS
from tests.builders import NINE

TOPIC = REPORTS.name


def sample(second: float, end: int, committed: int | None, *, members: int = 1, start: int = 0) -> Sample:
    """One partition of one topic, looked at *second* seconds after nine."""
    return Sample(
        at=NINE + timedelta(seconds=second),
        starts={TOPIC: (start,)},
        ends={TOPIC: (end,)},
        committed={SINK: {TOPIC: (committed,)}},
        members={SINK: members},
    )


def samples(ends: list[int], commits: list[int], members: int = 1) -> list[Sample]:
    """A sample every 2 s."""
    pairs = zip(ends, commits, strict=True)
    return [sample(2 * i, end, at, members=members) for i, (end, at) in enumerate(pairs)]


GROWING = list(range(0, 150, 10))


@pytest.mark.parametrize(
    ("ends", "commits", "verdict"),
    [
        pytest.param(GROWING, GROWING, Pace.OK, id="no lag"),
        pytest.param(GROWING, [max(0, e - 10) for e in GROWING], Pace.OK, id="a steady lag is not falling behind"),
        pytest.param(GROWING, [e // 60 * 60 for e in GROWING], Pace.OK, id="commits in steps"),
        pytest.param(GROWING, [e // 2 for e in GROWING], Pace.SLOW, id="half as fast as the topic"),
        pytest.param([100] * 15, list(range(0, 75, 5)), Pace.OK, id="a backlog that shrinks"),
        pytest.param([10 + e for e in GROWING], [5] * 15, Pace.STALLED, id="commits stand still, records wait"),
        pytest.param([10] * 15, [10] * 15, Pace.OK, id="a quiet topic, all read"),
        pytest.param([10] * 14 + [11], [10] * 15, Pace.OK, id="one record just came"),
    ],
)
def test_a_living_reader_is_judged_by_how_its_lag_moves(ends: list[int], commits: list[int], verdict: Pace) -> None:
    """No size of lag is good or bad: only its movement over the window counts."""
    assert health.pace(samples(ends, commits), SINK, TOPIC) is verdict


def test_scale_changes_no_verdict() -> None:
    """The same movement of a thousand times more records is judged the same: no threshold is fixed."""
    for commits in (GROWING, [e // 2 for e in GROWING], [0] * 15):
        small = health.pace(samples([e + 1 for e in GROWING], commits), SINK, TOPIC)
        large = health.pace(samples([1000 * (e + 1) for e in GROWING], [1000 * c for c in commits]), SINK, TOPIC)
        assert small is large


def test_a_group_without_members_that_commits_nothing_has_stopped() -> None:
    """Stopped is said of quiet topics too: nobody would read what comes next."""
    assert health.pace(samples([10] * 15, [10] * 15, members=0), SINK, TOPIC) is Pace.STOPPED


def test_a_reader_that_assigns_itself_partitions_counts_as_running_while_it_commits() -> None:
    """Membership is one sign of life, a moving commit the other."""
    assert health.pace(samples(GROWING, GROWING, members=0), SINK, TOPIC) is Pace.OK


def test_a_group_that_never_was_has_stopped() -> None:
    """A reader that the product needs and that never committed is not passed over in silence."""
    window = [sample(2 * i, 5, None, members=0) for i in range(WINDOW)]

    assert health.pace(window, SINK, TOPIC) is Pace.STOPPED
    assert sum(window[-1].lags(SINK, TOPIC)) == 5


def test_too_few_samples_tell_nothing() -> None:
    """A page that has just started accuses nobody."""
    window = samples([100] * (ENOUGH - 1), [0] * (ENOUGH - 1))

    assert health.pace(window, SINK, TOPIC) is Pace.UNKNOWN
    assert health.pace([*window, sample(2 * ENOUGH, 100, 0)], SINK, TOPIC) is Pace.STALLED


def test_one_bad_partition_decides_for_the_topic() -> None:
    """Three partitions that are read do not hide the fourth."""
    window = [
        Sample(
            at=NINE + timedelta(seconds=2 * i),
            starts={TOPIC: (0, 0)},
            ends={TOPIC: (i, 7)},
            committed={SINK: {TOPIC: (i, 3)}},
            members={SINK: 1},
        )
        for i in range(WINDOW)
    ]

    assert health.pace(window, SINK, TOPIC) is Pace.STALLED


def test_what_retention_deleted_is_no_lag() -> None:
    """A commit behind the first record left counts from that record."""
    assert sample(0, end=100, committed=10, start=90).lags(SINK, TOPIC) == (10,)


def test_a_commit_newer_than_the_end_is_no_negative_lag() -> None:
    """Commits and ends are read one after the other."""
    assert sample(0, end=100, committed=101).lags(SINK, TOPIC) == (0,)


def test_rate_is_records_over_the_time_they_took() -> None:
    """Records per second over the newest samples; none before there are two."""
    looked = samples([0, 20, 40, 60], [0] * 4)

    assert health.rate_per_s(looked, TOPIC) == 10.0
    assert health.rates_per_s(looked, TOPIC, 2) == [10.0, 10.0]
    assert health.rate_per_s(looked[:1], TOPIC) is None


def test_time_lag_is_the_age_of_the_oldest_unread_record() -> None:
    """Record 50 came between the samples of 4 s and 6 s that saw 40 and 60 records."""
    looked = samples([0, 20, 40, 60, 80], [0, 0, 0, 0, 50])

    assert health.time_lag(looked, SINK, TOPIC) == TimeLag(ms=2900)  # 8 s - (4 s + 11/20 · 2 s)


def test_time_lag_of_what_was_there_before_the_first_sample_is_a_lower_bound() -> None:
    """The page says "over" rather than inventing an age."""
    assert health.time_lag(samples([10, 10, 12], [3, 3, 3]), SINK, TOPIC) == TimeLag(ms=4000, at_least=True)


def test_no_unread_record_is_no_time_lag() -> None:
    """All read: zero, not unknown."""
    assert health.time_lag(samples([10, 10], [10, 10]), SINK, TOPIC) == TimeLag(ms=0)
    assert health.time_lag([], SINK, TOPIC) is None


def test_the_worst_verdict_speaks_for_the_pipeline() -> None:
    """From ok to stopped; of nothing, nothing is known."""
    assert health.worst([Pace.OK, Pace.SLOW, Pace.OK]) is Pace.SLOW
    assert health.worst([Pace.STOPPED, Pace.STALLED]) is Pace.STOPPED
    assert health.worst([]) is Pace.UNKNOWN


def test_readers_are_those_of_the_contract() -> None:
    """The page expects the engine on exactly the topics it reads, the sink on those with a table."""
    assert READERS[CASE_ENGINE] == {*INPUTS.openers, *INPUTS.followers, INPUTS.ticks}
    assert READERS[SINK] == {topic.name for topic in TOPICS if topic.table}
