"""A stack for each test, and a seed that is printed so that a failure can be run again."""

import os
import random
from collections.abc import Iterator

import pytest

from infra.kafka import Producer
from infra.local.ports import free_port
from infra.settings import Settings
from tests.builders import DISTRICT, with_policy
from tests.conftest import ROOT
from tests.faults.broker import Broker
from tests.faults.scenarios import Stack

_CALM = (DISTRICT / "policy.toml").read_text(encoding="utf-8")
# Clocks of a few seconds: every run has warnings, breaches and the whole ladder in it.
BRISK = (
    _CALM.replace(
        "acknowledge = 8000, dispose = 20000, verify = 15000", "acknowledge = 3000, dispose = 4000, verify = 4000"
    )
    .replace("budget_ms = 8000", "budget_ms = 2000")
    .replace("budget_ms = 10000", "budget_ms = 2000")
)

SAFEGUARD = "safeguard"  # the property under which a test notes which safeguard was missed, and by what


@pytest.fixture
def seed() -> int:
    """The run's seed: drawn, or GRIDWATCH_SEED."""
    found = int(os.environ.get("GRIDWATCH_SEED") or random.randrange(10**6))
    print(f"GRIDWATCH_SEED={found}")
    return found


def settings_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings of a stack that shares nothing, with short clocks and the shortest session that Kafka allows."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        jars_dir=ROOT / "data" / "jars",
        kafka=f"127.0.0.1:{free_port(2)}",
        session_timeout_s=6.0,
    )
    return with_policy(settings, settings.data_dir / "district", BRISK)


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker and a district of its own; no worker yet."""
    settings = settings_of_its_own(tmp_path_factory)
    with Broker(settings) as broker, Producer(settings, "test") as producer:
        yield Stack(settings, broker, producer)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the safeguards that were switched off, and what found each out."""
    reports = terminalreporter.getreports("passed")
    found = [text for report in reports for name, text in report.user_properties if name == SAFEGUARD]
    if found:
        terminalreporter.section("switched off -> caught by")
    for line in found:
        terminalreporter.write_line(line)
