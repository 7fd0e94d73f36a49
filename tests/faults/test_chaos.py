"""The engine under kill -9, freeze and rebalance, with live load, judged through Kafka against a model."""

import random

import pytest

from infra.kafka import Producer
from tests.faults import scenarios
from tests.faults.broker import Broker
from tests.faults.conftest import settings_of_its_own
from tests.faults.fleet import HARD, Fleet
from tests.faults.link import Link
from tests.faults.scenarios import Stack

pytestmark = pytest.mark.timeout(400)  # what stands still is told by the scenario, which waits for less


def test_kill_9_at_random_loses_nothing_doubles_nothing_and_commits_to_the_end(stack: Stack, seed: int) -> None:
    """R1, R2, R17: two workers under load, killed at random; every id, byte, state and commit is as the model says."""
    with Fleet(stack.settings) as fleet:
        _sound(scenarios.kills(stack, fleet, random.Random(seed)))


def test_a_frozen_worker_that_wakes_up_harms_nothing(stack: Stack, seed: int) -> None:
    """R16: a worker stands still for twice its session, twice; what it still does then changes nothing."""
    with Fleet(stack.settings) as fleet:
        _sound(scenarios.freezes(stack, fleet, random.Random(seed)))


def test_nothing_is_lost_when_partitions_move_and_recovery_is_slow(stack: Stack, seed: int) -> None:
    """Contiguity: with 0.3 s of work in recovery under live load, stock delivery loses 0.7 % of the records."""
    with Fleet(stack.settings, *HARD, "slow_recovery", "slow_agents") as fleet:
        _sound(scenarios.joins(stack, fleet, random.Random(seed)))


def test_what_reached_kafka_in_time_counts_behind_a_backlog(stack: Stack, seed: int) -> None:
    """R11: dead over every deadline; cases acknowledged in time never escalate, the others do, by their due times."""
    with Fleet(stack.settings, *HARD, *scenarios.BEHIND) as fleet:
        _sound(scenarios.outage(stack, fleet, random.Random(seed)))


def test_each_bad_record_is_one_dead_letter_and_stops_nothing(stack: Stack, seed: int) -> None:
    """R8: one per cent poison among good records."""
    with Fleet(stack.settings) as fleet:
        _sound(scenarios.poison(stack, fleet, random.Random(seed)))


def test_a_planned_restart_is_quick_and_repeats_nothing(stack: Stack, seed: int) -> None:
    """R18: SIGTERM under load."""
    with Fleet(stack.settings) as fleet:
        _sound(scenarios.restarts(stack, fleet, random.Random(seed)))


@pytest.mark.faults
def test_a_worker_that_loses_its_way_to_the_broker_harms_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """R16 by the network: the other worker takes over, and what the cut-off one still holds changes nothing."""
    settings = settings_of_its_own(tmp_path_factory)
    with (
        Link() as link,
        Broker(settings, *link.broker) as broker,
        Producer(settings, "test") as producer,
        Fleet(settings, ways={scenarios.BOTH[1]: f"127.0.0.1:{link.port}"}) as fleet,
    ):
        _sound(scenarios.cuts(Stack(settings, broker, producer), fleet, random.Random(seed), link=link))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_kills_at_greater_length(stack: Stack, seed: int) -> None:
    """Twenty kills of processes whose broker is slow to acknowledge."""
    with Fleet(stack.settings, *HARD, "slow_acks") as fleet:
        _sound(scenarios.kills(stack, fleet, random.Random(seed), rounds=20))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_freezes_at_greater_length(stack: Stack, seed: int) -> None:
    """Eight freezes of workers whose broker is slow to acknowledge: most of them in the middle of a chunk."""
    with Fleet(stack.settings, *HARD, "slow_acks") as fleet:
        _sound(scenarios.freezes(stack, fleet, random.Random(seed), rounds=8))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_workers_come_and_go(stack: Stack, seed: int) -> None:
    """R15: 1 -> 3 -> 2 -> 1 workers every six seconds, with timers running; no partition stands still for long."""
    with Fleet(stack.settings) as fleet:
        _sound(scenarios.moves(stack, fleet, random.Random(seed)))


@pytest.mark.faults
def test_deadlines_outlive_broker_and_workers(stack: Stack, seed: int) -> None:
    """R11: the whole stack is down over some deadlines."""
    with Fleet(stack.settings) as fleet:
        _sound(scenarios.blackout(stack, fleet, random.Random(seed)))


def _sound(found: list[str]) -> None:
    assert not found, "\n".join(found)
