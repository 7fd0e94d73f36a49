"""`gridwatch silence` on a real broker: a street's silence reaches every one of its grids."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from infra.clock import utc_now
from infra.kafka import read_to_end
from infra.reference import publish
from infra.settings import Settings
from schemas import codec
from schemas.errors import EXIT_SETUP
from schemas.topics import SILENCES
from tests.builders import REGISTRY
from tests.conftest import ROOT, environment

STREET = "610117001"
GRIDS = {grid for grid in REGISTRY.grids if grid.startswith(STREET)}
NEXT_MONTH = f"{utc_now() + timedelta(days=30):%Y-%m}-05"


@pytest.fixture(scope="module")
def published(broker: Settings) -> Settings:
    """A broker on which the district's policy is in force."""
    publish(broker, utc_now())
    return broker


def silence(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "infra.cli", "silence", *arguments]
    return subprocess.run(
        command, env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def told(answer: "subprocess.CompletedProcess[str]") -> Any:
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_street_is_silenced_and_let_go_in_each_of_its_grids(published: Settings) -> None:
    """One record a grid, in the grid's partition; `list` shows it while it lasts."""
    asked = ("--until", f"{NEXT_MONTH}T08:00", "--author", "st-001", "--reason", "全街停电检修", "--json")

    added = told(silence(published, "add", STREET, *asked))
    assert [row["silence_id"] for row in told(silence(published, "list", "--json"))] == [added["silence_id"]]
    ended = told(silence(published, "end", added["silence_id"], "--json"))

    assert added["grids"] == ended["grids"] == len(GRIDS)
    assert added["until"] == f"{NEXT_MONTH}T00:00:00Z"  # eight in the morning, in the district
    assert told(silence(published, "list", "--json")) == []
    messages = list(read_to_end(published, SILENCES))
    found = [codec.decode(SILENCES, message.value()) for message in messages]
    assert {each.grid_id for each in found} == GRIDS
    assert len(found) == 2 * len(GRIDS)
    for message, each in zip(messages, found, strict=True):
        assert message.partition() == codec.partition_of(each.grid_id, published.partitions)


def test_one_camera_is_silenced_in_its_grid_alone(published: Settings) -> None:
    """Maintenance of a camera holds no other back."""
    camera = next(camera for camera in REGISTRY.cameras.values() if camera.grid_id in GRIDS)
    asked = ("--camera", camera.id, "--until", NEXT_MONTH, "--author", "st-001", "--reason", "检修", "--json")

    added = told(silence(published, "add", STREET, *asked))

    found = [codec.decode(SILENCES, message.value()) for message in read_to_end(published, SILENCES)]
    mine = [each for each in found if each.silence_id == added["silence_id"]]
    assert [(each.grid_id, each.cameras) for each in mine] == [(camera.grid_id, [camera.id])]


@pytest.mark.parametrize(
    "wrong",
    [
        ("999999", "--until", NEXT_MONTH, "--author", "st-001", "--reason", "x"),
        (STREET, "--until", "2020-01-01", "--author", "st-001", "--reason", "x"),
        (STREET, "--until", NEXT_MONTH, "--author", "nobody", "--reason", "x"),
        (STREET, "--until", NEXT_MONTH, "--author", "st-001", "--reason", "x", "--kind", "sla-breach"),
        (STREET, "--until", NEXT_MONTH, "--author", "st-001", "--reason", "x", "--camera", "nowhere"),
        (STREET, "--until", NEXT_MONTH, "--author", "st-001", "--reason", "长" * 5000),
        (STREET, "--until", "2999-01-01", "--author", "st-001", "--reason", "x"),
    ],
)
def test_a_silence_of_nowhere_by_nobody_or_of_deadlines_is_refused(published: Settings, wrong: tuple[str, ...]) -> None:
    """Whoever silences answers for it, a breach is never silenced, and nothing is made that a worker would refuse."""
    before = len(list(read_to_end(published, SILENCES)))

    assert silence(published, "add", *wrong).returncode == EXIT_SETUP
    assert len(list(read_to_end(published, SILENCES))) == before
