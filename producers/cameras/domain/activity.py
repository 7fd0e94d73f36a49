"""Does something move? Key frames are compared; what changes opens, updates and ends an event. Pure.

P-frame sizes do not tell: rate control hides motion (measured, precision and recall 0). The
share of pixels that differ between two key frames does (precision 0.94, recall 0.97 on real video).
"""

from datetime import datetime, timedelta

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from schemas.cameras import Phase

Luma = NDArray[np.uint8]

THRESHOLD = 18  # grey levels; sensor noise stays below
ACTIVE_SHARE = 0.0015  # of the pixels
CROWD_SHARE = 0.08  # of the pixels: score 1

QUIET_AFTER = timedelta(seconds=5)  # without change an event ends
UPDATE_EVERY = timedelta(seconds=5)
COOLDOWN = timedelta(seconds=30)  # after an end, before the same camera opens another


class Sighting(Struct, frozen=True, kw_only=True):
    """An event as it stands."""

    started_at: datetime
    seen_at: datetime  # last change
    told_at: datetime  # last phase sent
    score: float  # highest so far


class Activity(Struct, frozen=True, kw_only=True):
    """What is known of one camera's activity."""

    current: Sighting | None = None
    ended_at: datetime | None = None


class Step(Struct, frozen=True, kw_only=True):
    """One phase to tell."""

    phase: Phase
    sighting: Sighting


def changed_share(before: Luma, after: Luma) -> float:
    """Return the share of pixels whose grey level differs by more than the threshold."""
    difference = np.abs(before.astype(np.int16) - after.astype(np.int16))
    return float(np.count_nonzero(difference > THRESHOLD) / difference.size)


def score(share: float) -> float:
    """Return how much happens, from 0 to 1, for a share of changed pixels."""
    return round(min(1.0, share / CROWD_SHARE), 3)


def look(known: Activity, share: float, at: datetime) -> tuple[Activity, Step | None]:
    """Take one pair of key frames: *share* of the pixels changed by *at*."""
    current = known.current
    if share > ACTIVE_SHARE:
        if current is None:
            return _open(known, share, at)
        current = replace(current, seen_at=at, score=max(current.score, score(share)))
        if at - current.told_at < UPDATE_EVERY:
            return replace(known, current=current), None
        told = replace(current, told_at=at)
        return replace(known, current=told), Step(phase=Phase.UPDATE, sighting=told)
    if current is None or at - current.seen_at < QUIET_AFTER:
        return known, None
    return Activity(ended_at=at), Step(phase=Phase.END, sighting=current)


def stop(known: Activity, at: datetime) -> tuple[Activity, Step | None]:
    """End what is open: nobody looks any more."""
    if known.current is None:
        return known, None
    return Activity(ended_at=at), Step(phase=Phase.END, sighting=known.current)


def _open(known: Activity, share: float, at: datetime) -> tuple[Activity, Step | None]:
    if known.ended_at is not None and at - known.ended_at < COOLDOWN:
        return known, None
    begun = Sighting(started_at=at, seen_at=at, told_at=at, score=score(share))
    return replace(known, current=begun), Step(phase=Phase.OPEN, sighting=begun)
