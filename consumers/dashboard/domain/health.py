"""Topic health: rate, lag, time lag and pace, from samples of offsets. Pure.

No threshold is fixed anywhere: a reader is judged by how its own lag moved over a window
of samples (the idea of Burrow). With one sample every 2 s the window is half a minute.

    stopped   the group has no member, and committed nothing on any topic in the window
    stalled   some partition had unread records in every sample, and its commit never moved
    slow      some partition's lag was, in the window's later half, always above the earlier half
    ok        otherwise
    unknown   fewer samples than can tell
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final

from msgspec import Struct

from schemas.topics import ENGINE_INPUTS, TOPICS

CASE_ENGINE: Final = "gridwatch-cases"
SINK: Final = "gridwatch-sink"
READERS: Final[dict[str, frozenset[str]]] = {
    CASE_ENGINE: frozenset(t.name for t in ENGINE_INPUTS),
    SINK: frozenset(t.name for t in TOPICS if t.table),
}
WINDOW: Final = 15
ENOUGH: Final = 6  # two halves of three: fewer cannot show a direction
RATE_SAMPLES: Final = 6


class Pace(StrEnum):
    """How a reader keeps up, best first."""

    OK = "ok"
    UNKNOWN = "unknown"
    SLOW = "slow"
    STALLED = "stalled"
    STOPPED = "stopped"


_ORDER = {pace: rank for rank, pace in enumerate(Pace)}
Offsets = tuple[int, ...]  # one per partition


class Sample(Struct, frozen=True, kw_only=True):
    """One look at the broker: offsets of every topic, commits and members of every group."""

    at: datetime
    starts: dict[str, Offsets]
    ends: dict[str, Offsets]
    committed: dict[str, dict[str, tuple[int | None, ...]]]  # group → topic → partition; None = never
    members: dict[str, int]

    def next_offsets(self, group: str, topic: str) -> Offsets:
        """Return the next offset *group* will read in each partition; retention may have moved it on."""
        starts = self.starts.get(topic, ())
        known = self.committed.get(group, {}).get(topic, (None,) * len(starts))
        return tuple(max(start, at or 0) for start, at in zip(starts, known, strict=True))

    def lags(self, group: str, topic: str) -> Offsets:
        """Return how many records of each partition *group* has not committed."""
        ends, at = self.ends.get(topic, ()), self.next_offsets(group, topic)
        # A commit can be newer than the end read a moment earlier.
        return tuple(max(0, end - offset) for end, offset in zip(ends, at, strict=True))


class TimeLag(Struct, frozen=True, kw_only=True):
    """Age of the oldest unread record; *at_least* when it is older than every sample."""

    ms: int
    at_least: bool = False


def worst(paces: Sequence[Pace]) -> Pace:
    """Return the worst of *paces*; of none, unknown."""
    return max(paces, key=_ORDER.__getitem__, default=Pace.UNKNOWN)


def pace(samples: Sequence[Sample], group: str, topic: str) -> Pace:
    """Return how *group* keeps up with *topic* over the newest samples."""
    window = samples[-WINDOW:]
    if len(window) < ENOUGH:
        return Pace.UNKNOWN
    if not _is_running(window, group):
        return Pace.STOPPED
    lags = list(zip(*(sample.lags(group, topic) for sample in window), strict=True))
    moves = list(zip(*(sample.next_offsets(group, topic) for sample in window), strict=True))
    return max(
        (_partition_pace(lag, at) for lag, at in zip(lags, moves, strict=True)),
        key=_ORDER.__getitem__,
        default=Pace.UNKNOWN,
    )


def _is_running(window: Sequence[Sample], group: str) -> bool:
    """Tell whether *group* shows life: a member now, or a commit that moved on any topic."""
    first, last = window[0].committed.get(group), window[-1].committed.get(group)
    return window[-1].members.get(group, 0) > 0 or first != last


def _partition_pace(lags: Sequence[int], commits: Sequence[int]) -> Pace:
    if min(lags) > 0 and commits[0] == commits[-1]:
        return Pace.STALLED
    half = len(lags) // 2
    # Commits come in steps, so single lags jump; a half that lies wholly above the other does so by growth.
    return Pace.SLOW if min(lags[-half:]) > max(lags[:half]) else Pace.OK


def rate_per_s(samples: Sequence[Sample], topic: str) -> float | None:
    """Return records appended per second over the newest samples, or None before the second one."""
    window = samples[-RATE_SAMPLES:]
    return _rate(window[0], window[-1], topic) if len(window) > 1 else None


def rates_per_s(samples: Sequence[Sample], topic: str, count: int) -> list[float]:
    """Return the rate between each two of the newest samples, oldest first, at most *count*."""
    window = samples[-count - 1 :]
    return [_rate(a, b, topic) for a, b in pairwise(window)]


def _rate(first: Sample, last: Sample, topic: str) -> float:
    seconds = (last.at - first.at).total_seconds()
    added = sum(last.ends.get(topic, ())) - sum(first.ends.get(topic, ()))
    return max(0.0, added / seconds) if seconds > 0 else 0.0


def time_lag(samples: Sequence[Sample], group: str, topic: str) -> TimeLag | None:
    """Return the age of the oldest record of *topic* that *group* has not committed; None without a sample."""
    if not samples:
        return None
    now = samples[-1]
    waiting = [
        _unread_for(samples, topic, partition, offset)
        for partition, offset in enumerate(now.next_offsets(group, topic))
        if offset < now.ends[topic][partition]
    ]
    return max(waiting, key=lambda lag: lag.ms, default=TimeLag(ms=0))


def _unread_for(samples: Sequence[Sample], topic: str, partition: int, offset: int) -> TimeLag:
    """Return how long the record at *offset* has been in the partition, between the samples that frame its append."""
    after = next(i for i, s in enumerate(samples) if _end(s, topic, partition) > offset)
    at, now = samples[after].at, samples[-1].at
    if after > 0:
        low, high = _end(samples[after - 1], topic, partition), _end(samples[after], topic, partition)
        share = (offset + 1 - low) / (high - low)
        at = samples[after - 1].at + (at - samples[after - 1].at) * share
    return TimeLag(ms=(now - at) // timedelta(milliseconds=1), at_least=after == 0)


def _end(sample: Sample, topic: str, partition: int) -> int:
    return sample.ends.get(topic, (0,) * (partition + 1))[partition]
