"""What the page knows: a fold over records and over samples of offsets. Deterministic, no I/O.

The last record of a key wins, as compaction has it, so records that a killed worker
repeats end in the same model. Archived cases leave it: it grows with open cases only.
"""

from collections import deque
from datetime import datetime
from itertools import islice
from typing import Final

from msgspec import Struct

from consumers.dashboard.domain.health import Sample
from schemas.alerts import Alert
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.cases import Case, GridState, Stage

ALERTS_KEPT: Final = 200
SAMPLES_KEPT: Final = 150  # five minutes at one every 2 s: what time lag can look back on


class Taken(Struct, frozen=True, kw_only=True):
    """One record as it came from a topic; *value* is None for a tombstone."""

    key: str
    value: Case | GridState | CameraTelemetry | Alert | None
    appended_at: datetime


class CameraSeen(Struct, frozen=True, kw_only=True):
    """The newest word of one camera, and since when its status is what it is."""

    telemetry: CameraTelemetry
    heard_at: datetime
    since: datetime

    @property
    def status(self) -> CameraStatus:
        """Return the status its producer gave last."""
        return self.telemetry.status


class Model:
    """The state behind the page."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.grids: dict[str, GridState] = {}
        self.cameras: dict[str, CameraSeen] = {}
        self.alerts: dict[str, Alert] = {}
        self.samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        self.newest_at: datetime | None = None
        self.unreadable = 0

    def take(self, record: Taken) -> None:
        """Take one record in; a tombstone removes what its key named."""
        match record.value:
            case Case() as case if case.stage is not Stage.ARCHIVED:
                self.cases[case.case_id] = case
            case GridState() as state:
                self.grids[state.grid_id] = state
            case CameraTelemetry() as telemetry:
                self._hear(telemetry, record.appended_at)
            case Alert() as alert:
                self._alert(alert)
            case _:
                self.cases.pop(record.key, None)
                if record.value is None:
                    self.grids.pop(record.key, None)
        self.newest_at = max(self.newest_at or record.appended_at, record.appended_at)

    def take_sample(self, sample: Sample) -> None:
        """Take in one look at the offsets of topics and groups."""
        self.samples.append(sample)

    def _hear(self, telemetry: CameraTelemetry, heard_at: datetime) -> None:
        known = self.cameras.get(telemetry.camera_id)
        since = known.since if known and known.status is telemetry.status else telemetry.observed_at
        self.cameras[telemetry.camera_id] = CameraSeen(telemetry=telemetry, heard_at=heard_at, since=since)

    def _alert(self, alert: Alert) -> None:
        self.alerts.setdefault(alert.alert_id, alert)
        if len(self.alerts) > ALERTS_KEPT * 2:
            newest = sorted(self.alerts.values(), key=lambda a: a.at, reverse=True)
            self.alerts = {a.alert_id: a for a in islice(newest, ALERTS_KEPT)}
