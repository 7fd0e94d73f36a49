"""The signals of one partition: what its cameras raise, what keeps it quiet, and what is left to send.

Only a tick sends: by then every input is read as far as its time, so what cameras raised, silences and
cases that inhibit meet in the order of their times, whichever topic was read first; a replay sends the same.

State keys: `<grid id>/signal/<kind>` and `<grid id>/silence/<silence id>`. Cases that inhibit are the
case program's own state.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain.grids import Counted
from pipelines.domain.signals import Mute, Signal, advance, hear
from pipelines.stream.program import Change
from schemas import codec
from schemas.alerts import Alert
from schemas.cases import Case, Stage
from schemas.policy import Policy
from schemas.silences import Silence

_SIGNAL, _SILENCE = "/signal/", "/silence/"
_MUTE_KEPT: Final = timedelta(hours=1)  # after its end: a tick has told what waited for it long before


class Held(Struct, frozen=True):
    """A silence, and the version of its key in the state."""

    silence: Silence
    version: int


class Inhibition(Struct, frozen=True):
    """A case of *item* keeps the signals quiet that name it."""

    case_id: str
    item: str
    mute: Mute


class Alarms:
    """Signals of the grids of one partition, under one policy."""

    def __init__(self, policy: Policy) -> None:
        """Know of nothing raised; *policy* has the rules."""
        self._rules = policy.alert_rules
        self._inhibiting = {code for rule in self._rules.values() for code in rule.inhibited_by}
        self._signals: dict[tuple[str, str], Signal] = {}  # by grid and kind
        self._silences: dict[str, dict[str, Held]] = defaultdict(dict)
        self._inhibitions: dict[str, list[Inhibition]] = defaultdict(list)
        self._changes: dict[str, Change] = {}

    def load(self, key: str, value: bytes) -> None:
        """Take one recovered value; a signal of a kind that has no rule any more is deleted."""
        if _SILENCE in key:
            held = msgspec.json.decode(value, type=Held)
            self._silences[held.silence.grid_id][held.silence.silence_id] = held
        else:
            signal = msgspec.json.decode(value, type=Signal)
            if signal.kind in self._rules:
                self._signals[signal.grid_id, signal.kind] = signal
            else:  # its rule may come back, and it would be long out of date
                self._changes[key] = Change(key.encode(), None)

    def recover(self, case: Counted) -> None:
        """Take a recovered case that may inhibit."""
        if case.item_code in self._inhibiting:
            until = case.updated_at if case.stage is Stage.ARCHIVED else None
            mute = Mute(case.opened_at, until)
            self._inhibitions[case.grid_id].append(Inhibition(case.case_id, case.item_code, mute))

    def take(self, raw: Alert, at: datetime) -> list[Alert]:
        """Take what a camera raised, or its end; return what is sent at once: of a kind that has no rule."""
        if raw.kind not in self._rules:
            return [raw]
        known = self._signals.get((raw.grid_id, raw.kind)) or Signal(grid_id=raw.grid_id, kind=raw.kind)
        self._keep(hear(known, raw, at))
        return []

    def silence(self, silence: Silence, at: datetime, version: int) -> None:
        """Take a silence, or another end of one; it changes nothing before *at*."""
        held = self._silences[silence.grid_id]
        known = held.get(silence.silence_id)
        if known is not None and known.version >= version:
            return  # a chunk read again
        since = known.silence.since if known is not None else max(silence.since, at)
        taken = Held(replace(silence, since=since, until=max(silence.until, at)), version)
        held[silence.silence_id] = taken
        key = f"{silence.grid_id}{_SILENCE}{silence.silence_id}"
        self._changes[key] = Change(key.encode(), codec.encode(taken), version)

    def see(self, case: Case) -> None:
        """Take a case as it is now: while one of an inhibiting item is open, it inhibits."""
        if case.item_code not in self._inhibiting:
            return
        found = self._inhibitions[case.grid_id]
        open_ones = [each for each in found if each.case_id == case.case_id and each.mute.until is None]
        if case.stage is not Stage.ARCHIVED and not open_ones:
            found.append(Inhibition(case.case_id, case.item_code, Mute(case.updated_at, None)))
        elif case.stage is Stage.ARCHIVED:
            for each in open_ones:
                found.remove(each)
                found.append(replace(each, mute=Mute(each.mute.since, case.updated_at)))

    def tick(self, at: datetime) -> list[Alert]:
        """Let time reach *at*; return what is sent."""
        sent: list[Alert] = []
        for known in list(self._signals.values()):
            signal, more = advance(known, at, self._rules[known.kind], list(self._mutes(known)))
            if signal is not known:
                self._keep(signal)
            sent += more
        self._forget(at - _MUTE_KEPT)
        return sent

    def changes(self) -> list[Change]:
        """Return what changed since the last call, once a key."""
        changes = [self._changes[key] for key in sorted(self._changes)]
        self._changes.clear()
        return changes

    def _keep(self, signal: Signal) -> None:
        self._signals[signal.grid_id, signal.kind] = signal
        key = f"{signal.grid_id}{_SIGNAL}{signal.kind}"
        self._changes[key] = Change(key.encode(), codec.encode(signal), signal.version)

    def _forget(self, before: datetime) -> None:
        for grid_id, silences in self._silences.items():
            for ident in [ident for ident, held in silences.items() if held.silence.until <= before]:
                del silences[ident]
                key = f"{grid_id}{_SILENCE}{ident}"
                self._changes[key] = Change(key.encode(), None)
        for inhibitions in self._inhibitions.values():
            inhibitions[:] = [i for i in inhibitions if i.mute.until is None or i.mute.until > before]

    def _mutes(self, signal: Signal) -> Iterator[Mute]:
        for held in self._silences[signal.grid_id].values():
            if signal.kind in held.silence.kinds:
                yield Mute(held.silence.since, held.silence.until, frozenset(held.silence.cameras))
        codes = self._rules[signal.kind].inhibited_by
        for inhibition in self._inhibitions[signal.grid_id]:
            if inhibition.item in codes:
                yield inhibition.mute
