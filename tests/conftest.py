"""What every test stands on: real processes on free ports, each module with a district of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.clock import utc_now
from infra.kafka import Producer
from infra.local import supervisor
from infra.local.ports import free_port
from infra.provision import apply_topics
from infra.reference import publish
from infra.settings import Settings
from schemas.errors import UnavailableError
from tests.district import District

BROKER = ("infra.local.broker",)
ROOT = Path(__file__).resolve().parent.parent


def eventually(check: Callable[[], object], *, within_s: float, what: str) -> object:
    """Return the first true result of *check*; fail the test after *within_s* seconds."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        result = check()
        if result:
            return result
        time.sleep(0.05)  # the pace of polling, not a guess at how long it takes
    pytest.fail(f"not within {within_s} s: {what}")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a child process the same settings."""
    return os.environ | supervisor.environment(settings)


@contextmanager
def process(module: str, settings: Settings, *args: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module` until the block ends; whatever is left is killed."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *args], env=environment(settings), stdout=out, stderr=out, cwd=ROOT
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def running_broker(
    settings: Settings, within_s: float = 60.0, entry: tuple[str, ...] = BROKER
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real Kafka broker, every topic applied, until the block ends."""
    log = settings.data_dir / "broker.out"
    with process(entry[0], settings, *entry[1:], log=log) as child:

        def ready() -> bool:
            if child.poll() is not None:
                said = supervisor.tail(settings.data_dir / "kafka" / "broker.log")
                raise UnavailableError("kafka", f"exit code {child.returncode}: {log.read_text()}{said}")
            try:
                apply_topics(settings, timeout_s=1)
            except (UnavailableError, TimeoutError):
                return False
            return True

        eventually(ready, within_s=within_s, what="the broker takes topics")
        yield child


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a stack that shares nothing with another module's."""
    return Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        jars_dir=ROOT / "data" / "jars",
        kafka=f"127.0.0.1:{free_port(2)}",
        clickhouse_port=free_port(),
        intake_port=free_port(),
        dashboard_port=free_port(),
        rtsp_port=free_port(),
        session_timeout_s=6.0,
    )


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[Settings]:
    """A real Kafka broker with every topic applied."""
    with running_broker(settings):
        publish(settings, utc_now())
        yield settings


@pytest.fixture(scope="module")
def district(broker: Settings) -> Iterator[District]:
    """A driver of the engine through Kafka."""
    with Producer(broker, "test") as producer:
        yield District(broker, producer)
