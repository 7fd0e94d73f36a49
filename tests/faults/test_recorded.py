"""One recorded set of topics, read by fresh workers: the same ids, the same bytes, whoever reads and whenever."""

import random
from datetime import datetime
from functools import partial

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.clock import utc_now
from infra.kafka import headers, read_to_end
from infra.local.summary import time_reached
from infra.provision import admin, apply_topics
from infra.settings import Settings
from pipelines.app import APP_ID
from schemas import codec
from schemas.topics import CASES, GRID_STATE, STATE_CHANGELOG
from tests.conftest import eventually
from tests.faults.fleet import Fleet
from tests.faults.load import Load
from tests.faults.oracle import JUDGED, uncommitted
from tests.faults.scenarios import COMMIT_WITHIN_S, Stack

READERS = 3
_MADE = (*JUDGED, GRID_STATE, STATE_CHANGELOG)  # what an engine makes of its inputs

Ids = dict[str, dict[str, bytes]]  # value by `ce_id`, by topic


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_three_fresh_workers_make_the_same_of_recorded_topics(stack: Stack, seed: int) -> None:
    """Reports, commands, sightings and ticks are data: the first worker met them live, the others as a backlog."""
    with Fleet(stack.settings) as fleet:
        fleet.start("worker-1")
        fleet.await_open()
        with Load(stack.producer, seed=seed, per_s=120):
            fleet.run_for(random.Random(seed).uniform(6.0, 10.0))
        until = _rest(stack.settings, fleet)
        live = _made(stack.settings, until)
        for number in range(READERS):
            _forget(stack.settings)
            fleet.start(f"reader-{number}")
            _rest(stack.settings, fleet)
            assert _made(stack.settings, until) == live

    assert all(live[topic.name] for topic in JUDGED if topic.name.startswith(("case.", "alerts.s")))


def _rest(settings: Settings, fleet: Fleet) -> datetime:
    """Let the engine read everything and stop it; return the time that it has reached in every partition."""
    quiet = utc_now()
    assert fleet.comes_true(lambda: not uncommitted(settings), within_s=COMMIT_WITHIN_S)
    assert fleet.comes_true(lambda: min(time_reached(settings).values()) > quiet, within_s=COMMIT_WITHIN_S)
    fleet.stop()
    return min(time_reached(settings).values())


def _made(settings: Settings, until: datetime) -> Ids:
    """Return what an engine made of what was there *until* then; which versions of a case appear is up to chunks."""
    found: Ids = {}
    for topic in JUDGED:
        if topic is CASES:
            continue
        values = found[topic.name] = {}
        for message in read_to_end(settings, topic):
            value = message.value() or b""
            at = getattr(codec.decode(topic, value), "at", None)
            if at is None or at <= until:
                values[codec.header(headers(message), "ce_id") or ""] = value
    return found


def _forget(settings: Settings) -> None:
    """Delete what the last engine made, and how far it had read."""
    client = admin(settings)
    eventually(partial(_is_forgotten, client), within_s=30, what="the group's last member is missed")
    for deleted in client.delete_topics([topic.name for topic in _MADE]).values():
        deleted.result(10)
    apply_topics(settings)


def _is_forgotten(client: AdminClient) -> bool:
    try:
        client.delete_consumer_groups([APP_ID])[APP_ID].result(10)
    except KafkaException:
        return False
    return True
