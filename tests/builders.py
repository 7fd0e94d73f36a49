"""Values for tests: only what matters is spelled out at the call."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from infra.settings import Settings
from pipelines.domain import cases
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.opening import Opening, open_case
from schemas.cameras import CameraEvent, CameraEventKind, Phase
from schemas.cases import Case, Command, Move
from schemas.grid import Camera
from schemas.policy import Policy, load_policy, policy_hash
from schemas.registry import Registry, load_registry
from schemas.reports import Channel, Report

DISTRICT = Path(__file__).resolve().parent.parent / "schemas" / "district"
REGISTRY: Registry = load_registry(DISTRICT)
POLICY: Policy = load_policy(DISTRICT)
POLICY_ID = policy_hash(POLICY)

GRID = "610117001001001"
WORKER = "pt-001001001"  # part-time worker of GRID
CHECKER = "ft-001001"  # full-time worker of its village
NINE = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)


def seconds(n: float) -> timedelta:
    """Return *n* seconds."""
    return timedelta(seconds=n)


def opened(at: datetime = NINE, item_code: str = "01001", origin_id: str = "r-1", policy: Policy = POLICY) -> Outcome:
    """Open a case in GRID."""
    opening = Opening(
        grid_id=GRID, item_code=item_code, channel=Channel.WORKER, origin_id=origin_id, summary="演示", occurred_at=at
    )
    return open_case(opening, Cause(id=origin_id, at=at), policy, POLICY_ID, REGISTRY)


def a_case(**changes: Any) -> Case:
    """Return a dispatched case, changed as asked."""
    return replace(opened().case, **changes)


def asked(case: Case, move: Move, by: str = WORKER, number: int = 1, **more: Any) -> Command:
    """Return a command on *case*."""
    return Command(command_id=f"c-{number}", case_id=case.case_id, move=move, by=by, requested_at=NINE, **more)


def moved(case: Case, move: Move, by: str = WORKER, at: datetime = NINE, **more: Any) -> Case:
    """Return *case* after an accepted command at *at*."""
    outcome = cases.apply(case, asked(case, move, by, **more), Cause(id=f"c-{move}", at=at), POLICY, REGISTRY)
    assert isinstance(outcome, Outcome), outcome
    return outcome.case


def a_report(report_id: str, grid_id: str = GRID, item_code: str = "01001") -> Report:
    """Return a worker's report."""
    return Report(
        report_id=report_id,
        grid_id=grid_id,
        item_code=item_code,
        channel=Channel.WORKER,
        occurred_at=NINE,
        received_at=NINE,
        description="演示",
        digest="0" * 16,
        reported_by=WORKER,
    )


def an_activity(event_id: str, camera: Camera, at: datetime, score: float = 1.0) -> CameraEvent:
    """Return the opening of what *camera* sees at *at*."""
    return CameraEvent(
        event_id=event_id,
        camera_id=camera.id,
        grid_id=camera.grid_id,
        kind=CameraEventKind.ACTIVITY,
        phase=Phase.OPEN,
        occurred_at=at,
        started_at=at,
        score=score,
    )


def with_policy(settings: Settings, directory: Path, text: str) -> Settings:
    """Return settings whose district is the shipped one with another `policy.toml`."""
    shutil.copytree(DISTRICT, directory, dirs_exist_ok=True)
    (directory / "policy.toml").write_text(text, encoding="utf-8")
    return settings.model_copy(update={"district_dir": directory})
