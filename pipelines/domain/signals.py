"""From what cameras raise to what is sent: group, dedupe, repeat, inhibit, silence, flap control. Pure.

A signal is one kind of trouble in one grid. It is on while any of the grid's cameras has it.

    raw edges   ──on──off─on───────────────────────off──────────►
    signal        │wait│                           │quiet│
    sent               firing    firing :1 (more cameras, or again)    resolved   │cooldown│

On for `group_wait`: one `firing`, which names every camera that has it by then. Off for `quiet`: one
`resolved`; back sooner, it is the same incident, and nothing is sent. After a `resolved`, nothing fires
for `cooldown`. While a mute lasts nothing fires; what is still on at its end does then. What was fired
is always resolved, muted or not.

Ids: that of the first camera's own alert, with `:1`, `:2` … for later messages of one incident. What is
sent, and when it was due, follows from edges and mutes alone, not from when somebody looked.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.policy import AlertRule

_MILLISECOND: Final = timedelta(milliseconds=1)
Heard = tuple[datetime, Alert]  # an edge, and when it happened
_RESOLVED: Final = {"open": "end", "firing": "resolved"}  # last part of a raw alert's id, and of its end's


class Mute(Struct, frozen=True):
    """Nothing fires in [since, until); None: nobody knows yet until when.

    With *cameras*, what those raise meanwhile counts from the end on, if it lasts; others are not held back.
    """

    since: datetime
    until: datetime | None
    cameras: frozenset[str] = frozenset()


class Signal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one kind of trouble in one grid."""

    grid_id: str
    kind: AlertKind
    version: int = 0
    heard: tuple[Heard, ...] = ()  # edges that no tick has reached
    on: dict[str, Alert] = {}  # by camera: what it raised
    since: datetime | None = None  # since when it is on, or off
    fired: Alert | None = None  # the incident's first message
    named: tuple[str, ...] = ()  # cameras that messages have told of
    sent_at: datetime | None = None  # when the last one was due
    messages: int = 0
    repeats: int = 0
    grown_at: datetime | None = None  # since when a camera has it that no message named
    cooled_at: datetime | None = None  # nothing fires before


class _Step(Struct, frozen=True):
    """What happens next to a signal by time alone."""

    due: datetime
    signal: Signal
    alert: Alert


def hear(signal: Signal, raw: Alert, at: datetime) -> Signal:
    """Take what a camera raised, or its end, at *at*; it counts once time has reached that."""
    return replace(signal, version=signal.version + 1, heard=(*signal.heard, (at, raw)))


def advance(signal: Signal, at: datetime, rule: AlertRule, mutes: Collection[Mute]) -> tuple[Signal, list[Alert]]:
    """Let time reach *at*; return the signal and what is sent until then.

    Edges count in the order of their times, in whichever order they were heard.
    """
    of_all = [mute for mute in mutes if not mute.cameras]
    due, later = _counted(signal.heard, at, [mute for mute in mutes if mute.cameras])
    sent: list[Alert] = []
    if len(later) < len(signal.heard):
        signal = replace(signal, version=signal.version + 1, heard=later)
    for counts_at, raw in due:
        signal, more = edge(signal, raw, counts_at, rule, of_all)
        sent += more
    signal, more = settle(signal, at, rule, of_all)
    return signal, sent + more


def _counted(heard: Collection[Heard], at: datetime, mutes: Collection[Mute]) -> tuple[list[Heard], tuple[Heard, ...]]:
    """Return the edges that count by *at*, each with the instant from which it does, and those that wait on.

    What a muted camera raised waits for the end of the mute; when it is over sooner, neither counts.
    """
    counting, later = list[Heard](), [each for each in heard if each[0] > at]
    waiting: dict[str, tuple[datetime | None, Heard]] = {}  # by camera: from when what it raised counts
    for happened_at, raw in sorted((each for each in heard if each[0] <= at), key=_in_time):
        camera = raw.camera_id or ""
        counts_at, earlier = waiting.pop(camera, (None, (happened_at, raw)))
        if counts_at is not None and counts_at <= happened_at:
            counting.append((counts_at, earlier[1]))
        if raw.status is AlertStatus.FIRING:
            of_camera = [mute for mute in mutes if camera in mute.cameras]
            waiting[camera] = _unmuted(happened_at, of_camera), (happened_at, raw)
        else:
            counting.append((happened_at, raw))
    for counts_at, raised in waiting.values():
        if counts_at is not None and counts_at <= at:
            counting.append((counts_at, raised[1]))
        else:
            later.append(raised)
    return sorted(counting, key=_in_time), tuple(later)


def _in_time(each: Heard) -> tuple[datetime, str]:
    """Order edges by time; a camera's of one instant stay as they came, and Python's sort keeps them so."""
    return each[0], each[1].camera_id or ""


def edge(
    signal: Signal, raw: Alert, at: datetime, rule: AlertRule, mutes: Collection[Mute]
) -> tuple[Signal, list[Alert]]:
    """Take what a camera raised, or its end, at *at*; return the signal and what is sent until then."""
    signal, sent = settle(signal, at, rule, mutes)
    camera = raw.camera_id or ""
    if (raw.status is AlertStatus.FIRING) == (camera in signal.on):
        return signal, sent
    on = {**signal.on, camera: raw} if raw.status is AlertStatus.FIRING else _without(signal.on, camera)
    is_new = bool(on.keys() - set(signal.named))
    signal = replace(
        signal,
        version=signal.version + 1,
        on=on,
        since=signal.since if bool(on) == bool(signal.on) else at,
        grown_at=(signal.grown_at or at) if signal.fired is not None and is_new else None,
    )
    signal, more = settle(signal, at, rule, mutes)
    return signal, sent + more


def settle(signal: Signal, at: datetime, rule: AlertRule, mutes: Collection[Mute]) -> tuple[Signal, list[Alert]]:
    """Let time reach *at*; return the signal and what is sent until then."""
    sent = []
    while (step := _next(signal, rule, mutes)) is not None and step.due <= at:
        signal = step.signal
        sent.append(step.alert)
    return signal, sent


def _next(signal: Signal, rule: AlertRule, mutes: Collection[Mute]) -> _Step | None:
    if signal.since is None:
        return None
    if signal.fired is None:
        return _fire(signal, signal.since, rule, mutes) if signal.on else None
    if not signal.on:
        return _resolve(signal, signal.fired, signal.since, rule)
    return min(_again(signal, signal.fired, rule, mutes), key=lambda step: step.due, default=None)


def _fire(signal: Signal, since: datetime, rule: AlertRule, mutes: Collection[Mute]) -> _Step | None:
    due = _unmuted(max(since + rule.group_wait_ms * _MILLISECOND, signal.cooled_at or since), mutes)
    if due is None:
        return None
    first = next(iter(signal.on.values()))
    fired = replace(first, cameras=sorted(signal.on)) if len(signal.on) > 1 else first
    return _Step(due, _sent(replace(signal, fired=fired), due), fired)


def _resolve(signal: Signal, fired: Alert, since: datetime, rule: AlertRule) -> _Step:
    """Muted or not: who was told of trouble is told of its end."""
    due = since + rule.quiet_ms * _MILLISECOND
    stem, _, last = fired.alert_id.rpartition(":")
    alert = replace(
        fired, alert_id=f"{stem}:{_RESOLVED[last]}", status=AlertStatus.RESOLVED, at=since, cameras=[], detail=None
    )
    over = Signal(
        grid_id=signal.grid_id,
        kind=signal.kind,
        version=signal.version + 1,
        heard=signal.heard,
        since=since,
        cooled_at=due + rule.cooldown_ms * _MILLISECOND,
    )
    return _Step(due, over, alert)


def _again(signal: Signal, fired: Alert, rule: AlertRule, mutes: Collection[Mute]) -> Iterator[_Step]:
    """Yield the next message about more cameras, and the next repeat."""
    last = signal.sent_at or fired.at
    waits = []
    if signal.grown_at is not None:
        grown = signal.grown_at + rule.group_wait_ms * _MILLISECOND
        waits.append((max(grown, last + rule.group_interval_ms * _MILLISECOND), 0))
    if rule.repeat_ms is not None and signal.repeats < rule.repeats:
        waits.append((last + rule.repeat_ms * _MILLISECOND, 1))
    for wait, repeat in waits:
        due = _unmuted(wait, mutes)
        if due is not None:
            alert = replace(
                fired,
                alert_id=f"{fired.alert_id}:{signal.messages}",
                at=due,
                repeat=signal.repeats + repeat,
                cameras=sorted(signal.on) if len(signal.on) > 1 else [],
                camera_id=fired.camera_id if fired.camera_id in signal.on else min(signal.on),
            )
            yield _Step(due, _sent(replace(signal, repeats=signal.repeats + repeat), due), alert)


def _sent(signal: Signal, due: datetime) -> Signal:
    return replace(
        signal,
        version=signal.version + 1,
        named=tuple(sorted({*signal.named, *signal.on})),
        sent_at=due,
        messages=signal.messages + 1,
        grown_at=None,
    )


def _unmuted(at: datetime, mutes: Collection[Mute]) -> datetime | None:
    """Return the first instant from *at* on that no mute holds, or None while none is in sight."""
    for mute in sorted(mutes, key=lambda mute: mute.since):
        if mute.since <= at and mute.until is None:
            return None
        if mute.since <= at and mute.until is not None and at < mute.until:
            at = mute.until
    return at


def _without(on: dict[str, Alert], camera: str) -> dict[str, Alert]:
    return {name: raw for name, raw in on.items() if name != camera}
