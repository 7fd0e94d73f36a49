"""Ten records that nobody can process, put straight onto topics: each must become one dead letter."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from schemas.codec import partition_of
from schemas.registry import Registry
from schemas.topics import CAMERA_EVENTS, CAMERA_TELEMETRY, CASE_COMMANDS, REPORTS


class BadRecord(Struct, frozen=True, kw_only=True):
    """One broken record, and the reason its dead letter must give."""

    topic: str
    key: str
    value: bytes | None
    reason: str


def bad_records(registry: Registry, partitions: int, now: datetime) -> list[BadRecord]:
    """Return the ten; their keys are real grids, so they reach real lanes.

    Args:
        registry: of the district.
        partitions: of every topic; with a single one no record can be in the wrong one, and nine are left.
        now: becomes part of ids and times.
    """
    grid, *others = registry.grids
    strays = [other for other in others if partition_of(other, partitions) != partition_of(grid, partitions)]
    report: dict[str, Any] = {
        "report_id": f"bad-{now:%Y%m%dT%H%M%S}",
        "grid_id": grid,
        "item_code": "01001",
        "channel": "worker",
        "occurred_at": now.isoformat(),
        "received_at": now.isoformat(),
        "description": "bad",
        "digest": "0" * 16,
    }
    telemetry = {
        "camera_id": "nowhere",
        "grid_id": grid,
        "observed_at": now.isoformat(),
        "status": "live",
        "fps": 25.0,
        "bitrate_bps": 1,
        "lost_packets": 0,
        "reconnects": 0,
        "frame_age_ms": 1,
    }
    without_item = {name: value for name, value in report.items() if name != "item_code"}
    return [
        _bad(REPORTS.name, grid, b"{not json", "not_json"),
        _bad(REPORTS.name, grid, b"\xff\xfe\x00", "not_json"),
        _bad(REPORTS.name, grid, None, "empty_value"),
        _bad(REPORTS.name, grid, without_item, "invalid_field"),
        *(_bad(REPORTS.name, grid, report | {"grid_id": stray}, "wrong_partition") for stray in strays[:1]),
        _bad(REPORTS.name, grid, report | {"grid_id": "9" * 15}, "unknown_grid"),
        _bad(REPORTS.name, grid, report | {"item_code": "99999"}, "unknown_item"),
        _bad(CASE_COMMANDS.name, grid, {"command_id": "c", "case_id": "no"}, "invalid_field"),
        _bad(CAMERA_EVENTS.name, grid, b"[]", "invalid_field"),
        _bad(CAMERA_TELEMETRY.name, grid, telemetry, "unknown_camera"),
    ]


def _bad(topic: str, key: str, value: bytes | dict[str, Any] | None, reason: str) -> BadRecord:
    content = msgspec.json.encode(value) if isinstance(value, dict) else value
    return BadRecord(topic=topic, key=key, value=content, reason=reason)
