"""How long rows are kept: one file, its faults named, a statement only where something changes."""

from pathlib import Path

import pytest

from infra.migrate import retention_change
from schemas.errors import SetupError
from schemas.retention import RETENTION_FILE, Retention, load_retention

_ENGINE = "ReplacingMergeTree PARTITION BY toYYYYMM(at) ORDER BY id{ttl} SETTINGS index_granularity = 8192"
_YEAR = Retention(time="at", days=365)


@pytest.mark.parametrize(
    ("retention", "ttl", "change"),
    [
        (_YEAR, "", "ALTER TABLE t MODIFY TTL toDateTime(at) + toIntervalDay(365)"),
        (
            _YEAR,
            " TTL toDateTime(at) + toIntervalDay(36)",
            "ALTER TABLE t MODIFY TTL toDateTime(at) + toIntervalDay(365)",
        ),
        (_YEAR, " TTL toDateTime(at) + toIntervalDay(365)", None),
        (Retention(time="at"), " TTL toDateTime(at) + toIntervalDay(365)", "ALTER TABLE t REMOVE TTL"),
        (Retention(time="at"), "", None),
    ],
)
def test_a_table_is_changed_only_when_its_engine_says_otherwise(
    retention: Retention, ttl: str, change: str | None
) -> None:
    """A change rewrites parts: the same run twice must not."""
    assert retention_change("t", retention, _ENGINE.format(ttl=ttl)) == change


def test_a_district_without_the_file_keeps_what_the_shipped_one_keeps(tmp_path: Path) -> None:
    """A directory made before there was such a file still migrates."""
    assert load_retention(tmp_path)["camera_telemetry"] == Retention(time="observed_at", days=90)


@pytest.mark.parametrize("text", ["[alerts]\ntime = 'at'\ndays = 0", "[alerts]\ndays = 3", "[alerts", "[a]\ntime='x;'"])
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """Deleting by a misread file cannot be undone."""
    (tmp_path / RETENTION_FILE).write_text(text)

    with pytest.raises(SetupError, match=r"retention\.toml"):
        load_retention(tmp_path)
