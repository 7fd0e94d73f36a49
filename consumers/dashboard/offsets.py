"""Where topics end and where groups stand: one look through Kafka's admin interface."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not re-export
    AdminClient,
    OffsetSpec,
)

from consumers.dashboard.domain.health import READERS, Offsets, Sample
from infra.kafka import consumer
from infra.settings import Settings
from schemas.errors import UnavailableError
from schemas.topics import TOPICS

_SPEC: Any = OffsetSpec  # its methods are untyped
_Found = dict[tuple[str, int], int]


class OffsetWatch:
    """Samples every topic and the groups whose lag the page shows; with connections for its whole life."""

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        """Prepare to ask; each look waits at most about *timeout_s* seconds."""
        self._admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 2})
        # Consumers that never join: the admin call for commits crashes (confluentinc/librdkafka#5040).
        self._groups = {group: consumer(settings, group) for group in READERS}
        self._timeout_s = timeout_s
        self._partitions = range(settings.partitions)
        self._all = [TopicPartition(topic.name, p) for topic in TOPICS for p in self._partitions]

    def sample(self, at: datetime) -> Sample:
        """Return where everything stands; *at* is the instant of this look.

        Commits are read before ends: a lag can come out too large by what moved in between, never hidden.

        Raises:
            UnavailableError: the broker did not answer in time, or a topic is missing.
        """
        try:
            committed = {group: self._committed(group) for group in READERS}
            return Sample(
                at=at,
                committed=committed,
                members=self._members(),
                starts=self._offsets(_SPEC.earliest()),
                ends=self._offsets(_SPEC.latest()),
            )
        except (KafkaException, TimeoutError) as error:
            raise UnavailableError("kafka", str(error)) from error

    def _offsets(self, spec: Any) -> dict[str, Offsets]:
        asked = self._admin.list_offsets(dict.fromkeys(self._all, spec), request_timeout=self._timeout_s)
        found = {(at.topic, at.partition): answer.result(self._timeout_s).offset for at, answer in asked.items()}
        return {topic.name: tuple(found[topic.name, p] for p in self._partitions) for topic in TOPICS}

    def _committed(self, group: str) -> dict[str, tuple[int | None, ...]]:
        found = _by_place(self._groups[group].committed(self._all, timeout=self._timeout_s))
        return {topic: tuple(found.get((topic, p)) for p in self._partitions) for topic, _ in found}

    def _members(self) -> dict[str, int]:
        asked = self._admin.describe_consumer_groups(list(READERS), request_timeout=self._timeout_s)
        return {group: _count_members(answer, self._timeout_s) for group, answer in asked.items()}


def _by_place(positions: Iterable[TopicPartition]) -> _Found:
    return {(at.topic, at.partition): at.offset for at in positions if at.offset >= 0}


def _count_members(answer: Any, timeout_s: float) -> int:
    """Return how many members a group has; a group that never was has none."""
    try:
        return len(answer.result(timeout_s).members)
    except KafkaException as error:
        if error.args[0].name() == "GROUP_ID_NOT_FOUND":
            return 0
        raise
