"""The cameras of one partition: when each was last heard of, and which fell silent.

State keys: `<grid id>/camera/<camera id>`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from pipelines.domain.silence import Watched, hear, listen
from pipelines.stream.program import Change
from schemas import codec
from schemas.alerts import Alert
from schemas.grid import Camera

KEY: Final = "/camera/"
_SAVED_EVERY: Final = timedelta(seconds=5)  # below the silence limit, so a restart sees no false silence


class Cameras:
    """Cameras that have been heard of; one of *by_grid* that never was is not watched."""

    def __init__(self, by_grid: Mapping[str, list[Camera]], silent_after: timedelta) -> None:
        self._by_grid, self._silent_after = by_grid, silent_after
        self._watched: dict[str, Watched] = {}
        self._saved_at: dict[str, datetime] = {}
        self._changed: set[str] = set()
        self._changed_grids: set[str] = set()

    def load(self, value: bytes) -> None:
        """Take one recovered value."""
        watched = msgspec.json.decode(value, type=Watched)
        self._watched[watched.camera_id] = watched

    def take(self, now: Watched) -> list[Alert]:
        """Take one telemetry record; return what the silence before it raises and ends."""
        known = self._watched.get(now.camera_id)
        if known is not None and known.heard_at >= now.heard_at:
            return []  # a chunk read again
        return self._keep(*hear(known, now, self._silent_after))

    def tick(self, at: datetime) -> list[Alert]:
        """Let time reach *at*; return what silences raise."""
        return [
            alert
            for watched in list(self._watched.values())
            for alert in self._keep(*listen(watched, at, self._silent_after))
        ]

    def changed_grids(self) -> set[str]:
        """Return the grids in which a camera came or went since the last call."""
        found, self._changed_grids = self._changed_grids, set()
        return found

    def changes(self) -> list[Change]:
        """Return what changed since the last call, once a key."""
        changes = []
        for camera_id in sorted(self._changed):
            watched = self._watched[camera_id]
            heard_ms = int(watched.heard_at.timestamp() * 1000)
            key = f"{watched.grid_id}{KEY}{camera_id}".encode()
            changes.append(Change(key, codec.encode(watched), heard_ms))
        self._changed.clear()
        return changes

    def count(self, grid_id: str) -> int:
        """Return how many cameras the registry has in a grid."""
        return len(self._by_grid.get(grid_id, ()))

    def watched(self, grid_id: str) -> Iterator[Watched]:
        """Yield those of a grid that have been heard of."""
        for camera in self._by_grid.get(grid_id, ()):
            if (found := self._watched.get(camera.id)) is not None:
                yield found

    def _keep(self, watched: Watched, alerts: list[Alert]) -> list[Alert]:
        known = self._watched.get(watched.camera_id)
        self._watched[watched.camera_id] = watched
        if known is None or known.is_live != watched.is_live:
            self._changed_grids.add(watched.grid_id)
        saved_at = self._saved_at.get(watched.camera_id)
        if alerts or saved_at is None or watched.heard_at - saved_at >= _SAVED_EVERY:
            self._saved_at[watched.camera_id] = watched.heard_at
            self._changed.add(watched.camera_id)
        return alerts
