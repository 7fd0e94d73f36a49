"""The fold behind the page: the last record of a key wins, closed cases leave."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from consumers.dashboard.domain.model import ALERTS_KEPT, Model, Taken
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.cases import Stage
from tests.builders import GRID, NINE, a_case, seconds

CAMERA = "cam-dz-001"


def take(model: Model, *values: Any) -> Model:
    """Fold *values* under their own keys, appended one second apart."""
    for i, value in enumerate(values):
        key = getattr(value, "case_id", None) or value.grid_id
        model.take(Taken(key=key, value=value, appended_at=NINE + seconds(i)))
    return model


def heard(status: CameraStatus, at: float) -> CameraTelemetry:
    """One second of CAMERA."""
    return CameraTelemetry(
        camera_id=CAMERA,
        grid_id=GRID,
        observed_at=NINE + seconds(at),
        status=status,
        fps=12.0,
        bitrate_bps=1,
        lost_packets=0,
        reconnects=0,
        frame_age_ms=1,
    )


def alert(number: int, at: float = 0) -> Alert:
    """A numbered alert."""
    return Alert(
        alert_id=f"a{number}",
        group_key="g",
        status=AlertStatus.FIRING,
        kind=AlertKind.ACTIVITY,
        grid_id=GRID,
        at=NINE + seconds(at),
    )


def test_the_newest_state_of_a_case_is_kept() -> None:
    """One row per case, however often it changes."""
    case = a_case()

    model = take(Model(), case, replace(case, version=9))

    assert [c.version for c in model.cases.values()] == [9]


def test_an_archived_case_leaves_and_repeats_change_nothing() -> None:
    """A worker killed and restarted repeats its last chunk; the fold ends where it was."""
    case = a_case()
    story = [case, replace(case, stage=Stage.ARCHIVED, timer=None)]

    assert take(Model(), *story).cases == {}
    assert take(Model(), *story, *story).cases == {}


def test_a_tombstone_removes_what_its_key_named() -> None:
    """An empty value on a compacted topic deletes."""
    case = a_case()
    model = take(Model(), case)

    model.take(Taken(key=case.case_id, value=None, appended_at=NINE))

    assert model.cases == {}


def test_a_cameras_state_began_when_it_last_changed() -> None:
    """Repeating a status does not move its beginning; another one does."""
    model = take(Model(), heard(CameraStatus.LIVE, 0), heard(CameraStatus.LIVE, 1), heard(CameraStatus.STALLED, 2))
    assert model.cameras[CAMERA].since == NINE + seconds(2)

    take(model, heard(CameraStatus.STALLED, 3))
    assert model.cameras[CAMERA].since == NINE + seconds(2)


def test_an_alert_is_kept_once_and_old_ones_go() -> None:
    """Distinct ids count, and memory is bounded by the newest alerts."""
    model = take(Model(), *[alert(n, at=n) for n in range(3 * ALERTS_KEPT)], alert(3 * ALERTS_KEPT - 1))

    assert len(model.alerts) <= 2 * ALERTS_KEPT
    newest = sorted((a.at for a in model.alerts.values()), reverse=True)[:ALERTS_KEPT]
    assert newest[-1] == NINE + timedelta(seconds=2 * ALERTS_KEPT)


def test_the_newest_append_time_never_goes_back() -> None:
    """Partitions are read one after the other; the page's age is that of the newest record."""
    model = take(Model(), a_case(), heard(CameraStatus.LIVE, 0))

    model.take(Taken(key="x", value=alert(1), appended_at=NINE - seconds(60)))

    assert model.newest_at == NINE + seconds(1)
