"""What follow codes are made of."""

from pathlib import Path

import pytest

from infra.settings import Settings
from producers.reports.follow import follow_secret
from schemas.errors import SetupError


def test_the_first_start_keeps_a_secret_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    assert len(follow_secret(settings)) == 32
    assert follow_secret(settings) == follow_secret(settings)
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("follow.key", 0o600)]


def test_half_a_secret_is_none(tmp_path: Path) -> None:
    """With an empty one anybody could make every case's code."""
    (tmp_path / "follow.key").write_bytes(b"")

    with pytest.raises(SetupError, match="0 bytes"):
        follow_secret(Settings(data_dir=tmp_path))
