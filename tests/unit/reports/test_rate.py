"""Rates: a burst, then the pace; nobody pays for another, and memory has an end."""

from hypothesis import given
from hypothesis import strategies as st

from producers.reports.domain.rate import Rate


def test_a_minutes_worth_at_once_then_one_at_a_time() -> None:
    """60 a minute: 60 now, the next in a second."""
    rate = Rate(60)

    assert [rate.wait_s("a", 5.0) for _ in range(60)] == [0.0] * 60
    assert 0.99 < rate.wait_s("a", 5.0) <= 1.0
    assert rate.wait_s("a", 6.001) == 0.0
    assert rate.wait_s("b", 5.0) == 0.0


@given(st.lists(st.floats(0, 3), max_size=300))
def test_no_minute_sees_more_than_twice_the_rate(pauses: list[float]) -> None:
    """The burst and the pace together; and who waits as told is let in."""
    rate, now_s = Rate(10), 100.0
    taken: list[float] = []
    for pause in pauses:
        now_s += pause
        wait_s = rate.wait_s("a", now_s)
        if wait_s:
            assert rate.wait_s("a", now_s + wait_s + 1e-6) == 0.0
            now_s += wait_s + 1e-6
        taken.append(now_s)
    assert all(sum(at <= other < at + 60 for other in taken) <= 20 for at in taken)


def test_the_clients_remembered_are_bounded() -> None:
    """A flood of addresses does not fill the memory."""
    rate = Rate(1)
    for n in range(20_000):
        rate.wait_s(f"c-{n}", 0.0)
    assert rate.wait_s("c-19999", 0.0) > 0
    assert rate.wait_s("c-0", 0.0) == 0.0
