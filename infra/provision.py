"""Topics as code: create what is missing, refuse what is wrong. Nothing is ever auto-created."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError
from schemas.topics import TOPICS, Topic, config

_CHECKED = ("cleanup.policy", "message.timestamp.type")


def admin(settings: Settings) -> AdminClient:
    """Return a client for the broker's administration."""
    return AdminClient({"bootstrap.servers": settings.kafka, "log_level": 2})


@contextmanager
def asking(timeout_s: float = 30.0) -> Iterator[float]:
    """Translate what the broker's administration raises in the block; the value is how long each call may wait."""
    try:
        yield timeout_s
    except (KafkaException, TimeoutError) as error:
        raise UnavailableError("kafka", str(error) or "no answer in time") from error


def apply_topics(settings: Settings, timeout_s: float = 30.0) -> list[str]:
    """Create the topics that are missing and return their names; the rest must already be right.

    Raises:
        SetupError: a topic exists with another partition count, clean-up or timestamp type.
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    with asking(timeout_s):
        client = admin(settings)
        present = client.list_topics(timeout=timeout_s).topics
        missing = [topic for topic in TOPICS if topic.name not in present]
        created = client.create_topics([_new(topic, settings) for topic in missing]) if missing else {}
        for future in created.values():
            future.result(timeout_s)
        await_listed(client, [topic.name for topic in missing], timeout_s, there=True)
    check_topics(settings, timeout_s)
    return [topic.name for topic in missing]


def await_listed(client: AdminClient, names: Sequence[str], timeout_s: float, *, there: bool) -> None:
    """Wait until the broker lists all topics that it has just created, or none that it has deleted."""
    deadline = monotonic_s() + timeout_s
    while any(
        (name in listed) is not there for listed in [client.list_topics(timeout=timeout_s).topics] for name in names
    ):
        if monotonic_s() > deadline:
            raise UnavailableError("kafka", "topics that were created or deleted do not show as such")
        time.sleep(0.05)


def _new(topic: Topic, settings: Settings) -> NewTopic:
    return NewTopic(topic.name, settings.partitions, settings.replication, config=config(topic))


def check_topics(settings: Settings, timeout_s: float = 30.0) -> None:
    """Compare the broker's topics with the contract.

    Raises:
        SetupError: naming every topic that is missing or differs, and how.
        UnavailableError: the broker did not answer within *timeout_s*.
    """
    with asking(timeout_s):
        client = admin(settings)
        present = client.list_topics(timeout=timeout_s).topics
        wanted = {topic.name: topic for topic in TOPICS}
        found = {name: present[name] for name in wanted if name in present}
        described = (
            client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in found]) if found else {}
        )
        actual = {resource.name: future.result(timeout_s) for resource, future in described.items()}
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    for name, topic in found.items():
        count = len(topic.partitions)
        if count != settings.partitions:
            wrong.append(f"{name} has {count} partitions, not {settings.partitions}")
        expected = config(wanted[name])
        for key in _CHECKED:
            if actual[name][key].value != expected[key]:
                wrong.append(f"{name} has {key}={actual[name][key].value}, not {expected[key]}")
    if wrong:
        raise SetupError("topics", "; ".join(wrong) + " (gridwatch topics apply creates missing ones)")
