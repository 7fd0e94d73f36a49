"""R20: the broker's disk is full. Needs root, for a disk of its own that is small enough to fill."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kafka import Producer
from infra.settings import Settings
from tests.conftest import eventually
from tests.faults import scenarios
from tests.faults.broker import Broker
from tests.faults.conftest import settings_of_its_own
from tests.faults.fleet import Fleet
from tests.faults.load import Load
from tests.faults.scenarios import Stack

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]
DISK_MIB = 60


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Path]]:
    """Settings of a broker whose data is on a tmpfs of 60 MiB, and that disk."""
    settings = settings_of_its_own(tmp_path_factory)
    directory = settings.data_dir / "kafka"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", directory], check=True)
    try:
        yield settings, directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged(disk: tuple[Settings, Path], seed: int) -> None:
    """The broker ends rather than lie; with room again and a restart, everything goes on without a hand laid on it."""
    settings, directory = disk
    rng, ballast = random.Random(seed), directory / "ballast"
    with (
        Broker(settings) as broker,
        Producer(settings, "test") as producer,
        Fleet(settings) as fleet,
        Load(producer, seed=seed, per_s=120) as load,
    ):
        fleet.start("worker-1")
        fleet.await_open()
        _fill(ballast)
        eventually(lambda: broker.has_ended, within_s=60, what="the broker ends because its disk is full")
        fleet.run_for(rng.uniform(1.0, 5.0))
        ballast.unlink()
        broker.start()
        fleet.await_open()
        fleet.run_for(3.0)
        load.stop()
        found = scenarios.judge(Stack(settings, broker, producer), fleet, load.sent, may_end=True)
    assert not found, "\n".join(found)


def _fill(path: Path) -> None:
    """Take all the room there is."""
    block = b"\0" * (256 << 10)
    with path.open("wb", buffering=0) as ballast:
        try:
            while ballast.write(block):
                pass
        except OSError:
            return
