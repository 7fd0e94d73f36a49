"""What cameras raise becomes few messages, and every trouble that lasts is told and ended once."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.domain.signals import Mute, Signal, advance, edge, hear
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.policy import AlertRule
from tests.builders import GRID, NINE, seconds

KIND = AlertKind.CAMERA_OFFLINE
LATER = NINE + timedelta(days=2)
Edge = tuple[int, str, bool]

waits = st.integers(0, 8_000)
rules = st.builds(
    AlertRule,
    kinds=st.just([KIND]),
    group_wait_ms=waits,
    group_interval_ms=waits,
    repeat_ms=st.none() | st.integers(1, 20_000),
    repeats=st.integers(0, 3),
    quiet_ms=waits,
    cooldown_ms=waits,
)
edges: st.SearchStrategy[list[Edge]] = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.booleans()), max_size=30
).map(lambda drawn: sorted(drawn, key=lambda each: each[0]))
spans = st.builds(lambda since, length: Mute(at(since), at(since + length)), st.integers(0, 60), st.integers(0, 30))
cameras = st.frozensets(st.sampled_from("abc"))
mutes = st.lists(st.builds(lambda mute, some: Mute(mute.since, mute.until, some), spans, cameras), max_size=4)


def at(second: float) -> datetime:
    return NINE + seconds(second)


def raw(number: int, camera: str, is_on: bool) -> Alert:
    """Return what a camera's event raises: of an opening and its end, one key."""
    key = f"e-{camera}-{number}"
    status, phase = (AlertStatus.FIRING, "open") if is_on else (AlertStatus.RESOLVED, "end")
    return Alert(
        alert_id=f"{key}:{phase}",
        group_key=key,
        status=status,
        kind=KIND,
        grid_id=GRID,
        at=at(number),
        camera_id=camera,
    )


def run(
    drawn: list[Edge], rule: AlertRule, muted: list[Mute], looks: list[int]
) -> tuple[Signal, list[tuple[datetime, Alert]]]:
    """Return the signal in the end, and each message with the first look at which it was there."""
    signal, sent = Signal(grid_id=GRID, kind=KIND), list[tuple[datetime, Alert]]()
    marks: list[tuple[int, int, Edge | None]] = [(each[0], n, each) for n, each in enumerate(drawn)]
    marks += [(look, len(drawn), None) for look in looks]
    for second, number, change in sorted(marks, key=lambda mark: mark[:2]):
        if change is not None:
            signal = hear(signal, raw(number, change[1], change[2]), at(second))
            continue
        signal, more = advance(signal, at(second), rule, muted)
        sent += [(at(second), alert) for alert in more]
    signal, more = advance(signal, LATER, rule, muted)
    return signal, sent + [(LATER, alert) for alert in more]


@given(edges, rules, mutes, st.lists(st.integers(0, 100), max_size=20))
def test_it_does_not_matter_when_somebody_looks(
    drawn: list[Edge], rule: AlertRule, muted: list[Mute], looks: list[int]
) -> None:
    """A tick, a kill or a slow worker changes no message: neither which, nor what it says."""
    alone, looked_at = run(drawn, rule, muted, []), run(drawn, rule, muted, looks)

    assert replace(alone[0], version=0) == replace(looked_at[0], version=0)
    assert [alert for _, alert in alone[1]] == [alert for _, alert in looked_at[1]]


@given(edges, rules, mutes, st.lists(st.integers(0, 70), max_size=6), st.randoms(use_true_random=False))
def test_edges_heard_in_any_order_count_in_the_order_of_their_times(
    drawn: list[Edge], rule: AlertRule, muted: list[Mute], ticks: list[int], rng: Random
) -> None:
    """Topics are read side by side; by the time of a tick all that happened before it has been heard."""
    drawn = list({each[0]: each for each in drawn}.values())
    raws = [(raw(n, camera, is_on), at(second)) for n, (second, camera, is_on) in enumerate(drawn)]
    signal, sent, left = Signal(grid_id=GRID, kind=KIND), list[Alert](), list(raws)
    for tick in [*sorted(ticks), 10**5]:
        early = [each for each in left if each[1] <= at(tick) or rng.random() < 0.3]
        left = [each for each in left if each not in early]
        rng.shuffle(early)
        for alert, happened_at in early:
            signal = hear(signal, alert, happened_at)
        signal, more = advance(signal, at(tick), rule, muted)
        sent += more

    assert sent == [alert for _, alert in run(drawn, rule, muted, [])[1]]


@given(edges, rules, mutes)
def test_trouble_that_lasts_is_told_and_all_that_was_told_ends_once(
    drawn: list[Edge], rule: AlertRule, muted: list[Mute]
) -> None:
    """Ids are unique; an incident is firing, perhaps more, then one resolved under the same key; caps hold."""
    signal, sent = run(drawn, rule, muted, [])

    messages = [alert for _, alert in sent]
    assert len({alert.alert_id for alert in messages}) == len(messages)
    assert (signal.fired is not None) == bool(signal.on)
    incidents = list(_incidents(messages))
    for number, incident in enumerate(incidents):
        assert len({alert.group_key for alert in incident}) == 1
        assert [a.status for a in incident[:-1]] == [AlertStatus.FIRING] * (len(incident) - 1)
        is_over = incident[-1].status is AlertStatus.RESOLVED
        assert is_over or (number == len(incidents) - 1 and signal.on)
        assert max(alert.repeat for alert in incident) <= rule.repeats
        assert incident[0].status is AlertStatus.FIRING
        named = [set(alert.cameras or [alert.camera_id]) for alert in incident]
        growths = [b for a, b in pairwise(incident) if a.repeat == b.repeat]
        assert len(growths) - is_over <= 2, "of three cameras, two can join"
        assert all(named)


def _incidents(messages: list[Alert]) -> Iterator[list[Alert]]:
    begun: list[Alert] = []
    for alert in messages:
        begun.append(alert)
        if alert.status is AlertStatus.RESOLVED:
            yield begun
            begun = []
    if begun:
        yield begun


@given(edges, rules, st.lists(spans, max_size=3), st.booleans())
def test_nothing_fires_while_it_is_muted(drawn: list[Edge], rule: AlertRule, muted: list[Mute], is_open: bool) -> None:
    """Looked at each second: a firing shows only when no mute holds, and under one without end never after it began."""
    muted = [*muted, Mute(at(30), None)] if is_open else muted

    _, sent = run(drawn, rule, muted, list(range(100)))

    for shown_at, alert in sent:
        if alert.status is AlertStatus.FIRING and shown_at < LATER:
            dues = [shown_at - seconds(share / 10) for share in range(10)]
            assert any(not any(m.since <= due and (m.until is None or due < m.until) for m in muted) for due in dues)


@given(edges, rules, st.frozensets(st.sampled_from("abc"), min_size=1))
def test_a_camera_that_is_muted_is_in_no_message(drawn: list[Edge], rule: AlertRule, some: frozenset[str]) -> None:
    """One under repair is named by nothing meanwhile, and holds no other back; still dark at the end, it is told."""
    signal, sent = run(drawn, rule, [Mute(NINE, at(100), some)], list(range(100)))

    early = [alert for shown_at, alert in sent if shown_at < at(100)]
    others = [each for each in drawn if each[1] not in some]
    assert all(not some.intersection(alert.cameras or [alert.camera_id or ""]) for alert in early)
    assert [a.status for a in early] == [
        a.status for when, a in run(others, rule, [], list(range(100)))[1] if when < LATER
    ]
    last = {camera: is_on for _, camera, is_on in drawn}
    assert signal.on.keys() == {camera for camera, is_on in last.items() if is_on}


@given(st.lists(st.integers(1, 4), min_size=8, max_size=30), st.integers(0, 3_000), st.integers(1, 20_000))
def test_flapping_fires_no_faster_than_quiet_and_cooldown_allow(
    gaps: list[int], quiet_ms: int, cooldown_ms: int
) -> None:
    """A camera that comes and goes every few seconds: no 21 alerts in 15 s."""
    times = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    drawn = [(second, "a", n % 2 == 0) for n, second in enumerate(times)]
    rule = AlertRule(kinds=[KIND], quiet_ms=quiet_ms, cooldown_ms=cooldown_ms)

    _, sent = run(drawn, rule, [], list(range(150)))

    firsts = [shown_at for shown_at, alert in sent if alert.status is AlertStatus.FIRING]
    least = timedelta(milliseconds=quiet_ms + cooldown_ms) - seconds(1)  # seen to the second
    assert firsts
    assert all(other - one >= least for one, other in pairwise(firsts))


@given(edges)
def test_a_kind_without_waits_is_edge_triggered(drawn: list[Edge]) -> None:
    """With all waits at zero: one firing when the first camera has it, one resolved when the last has not."""
    signal = Signal(grid_id=GRID, kind=KIND)
    for number, (second, camera, is_on) in enumerate(drawn):
        had = bool(signal.on)
        signal, sent = edge(signal, raw(number, camera, is_on), at(second), AlertRule(kinds=[KIND]), [])
        statuses = [
            alert.status for alert in sent if alert.status is AlertStatus.RESOLVED or ":open:" not in alert.alert_id
        ]
        assert statuses == (
            [] if had == bool(signal.on) else [AlertStatus.FIRING if signal.on else AlertStatus.RESOLVED]
        )
