"""Cases as the topics have them: their ledger, and the policy each was opened under."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec
from confluent_kafka import Message

from infra.kafka import read_to_end
from infra.reference import in_force
from infra.settings import Settings
from pipelines.domain import ids
from pipelines.domain.explain import Explanation, explain
from pipelines.domain.ledger import Book, bind
from schemas import codec
from schemas.cases import Case, LedgerEvent
from schemas.errors import RecordError
from schemas.fields import CaseId
from schemas.policy import Policy
from schemas.reports import Reporter
from schemas.topics import CASE_EVENTS, CASES, REPORTERS


def explanation(settings: Settings, case_id: str) -> Explanation:
    """Explain every clock of a case, from its ledger and the policy it was opened under.

    Reads one partition of the ledger: seconds, when it is long.

    Raises:
        RecordError: there is no such case.
        UnavailableError: the broker does not answer.
    """
    partition = _partition_of(settings, case_id)
    policy_id = _case_of(settings, case_id).policy
    events = list(_ledger_of(settings, case_id, partition))
    return explain(events, in_force(settings).policies[policy_id], policy_id)


def book(settings: Settings, case_id: str | None) -> Book:
    """Return the ledger of one case, or of all, as a book; it is held in memory whole.

    Raises:
        RecordError: there is no such case.
        UnavailableError: the broker does not answer.
    """
    if case_id is None:
        return bind(_decoded(read_to_end(settings, CASE_EVENTS)))
    found = bind(_ledger_of(settings, case_id, _partition_of(settings, case_id)))
    if not found.entries:
        raise RecordError("unknown_case", f"no case {case_id}")
    return found


def reporter(settings: Settings, case_id: str) -> tuple[Reporter, list[str]]:
    """Return who reported a case and, when it is private, what they said then and what they added.

    Raises:
        RecordError: there is no such case, or nobody is known to have reported it.
        UnavailableError: the broker does not answer, or does not let this user read `reporters`.
    """
    case = _case_of(settings, case_id)
    added_prefix = ids.reporters_command_id(case_id, "").encode()
    found: dict[bytes, Reporter] = {}
    for message in read_to_end(settings, REPORTERS):
        key = message.key() or b""
        if message.value() is not None and (key == case.origin_id.encode() or key.startswith(added_prefix)):
            found[key] = codec.decode(REPORTERS, message.value())
    first = found.pop(case.origin_id.encode(), None)
    if first is None:
        raise RecordError("unknown_reporter", f"nobody is known to have reported case {case_id}")
    return first, [more.description or "" for more in found.values()]


def every_case(settings: Settings) -> tuple[list[LedgerEvent], dict[str, Policy]]:
    """Return every line of the ledger, and the policy of each of its cases.

    Raises:
        UnavailableError: the broker does not answer.
    """
    policies, held = in_force(settings).policies, dict[str, str]()
    for message in read_to_end(settings, CASES):
        with suppress(RecordError):
            case: Case = codec.decode(CASES, message.value())
            held[case.case_id] = case.policy
    # Of a case that was opened since the other topic was read, the next run tells.
    lines = [event for event in _decoded(read_to_end(settings, CASE_EVENTS)) if event.case_id in held]
    return lines, {case_id: policies[policy_id] for case_id, policy_id in held.items()}


def _partition_of(settings: Settings, case_id: str) -> int:
    try:
        msgspec.convert(case_id, CaseId)
    except msgspec.ValidationError as error:
        raise RecordError("invalid_field", str(error), "case_id") from error
    return codec.partition_of(case_id[:15], settings.partitions)


def _decoded(messages: Iterable[Message]) -> Iterator[LedgerEvent]:
    for message in messages:
        with suppress(RecordError):
            yield codec.decode(CASE_EVENTS, message.value())


def _ledger_of(settings: Settings, case_id: str, partition: int) -> Iterator[LedgerEvent]:
    wanted = case_id.encode()
    # Most lines are of other cases, and need not be decoded.
    messages = (m for m in read_to_end(settings, CASE_EVENTS, partition=partition) if wanted in (m.value() or b""))
    return (event for event in _decoded(messages) if event.case_id == case_id)


def _case_of(settings: Settings, case_id: str) -> Case:
    found: Case | None = None
    for message in read_to_end(settings, CASES, partition=_partition_of(settings, case_id)):
        if message.key() == case_id.encode() and message.value() is not None:
            found = codec.decode(CASES, message.value())
    if found is None:
        raise RecordError("unknown_case", f"no case {case_id}")
    return found
