"""Cases as the topics have them: their ledger, and the policy each was opened under."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from infra.kafka import read_to_end
from infra.reference import in_force
from infra.settings import Settings
from pipelines.domain.explain import Explanation, explain
from schemas import codec
from schemas.cases import Case, LedgerEvent
from schemas.errors import RecordError
from schemas.fields import CaseId
from schemas.policy import Policy
from schemas.topics import CASE_EVENTS, CASES


def explanation(settings: Settings, case_id: str) -> Explanation:
    """Explain every clock of a case, from its ledger and the policy it was opened under.

    Reads one partition of the ledger: seconds, when it is long.

    Raises:
        RecordError: there is no such case.
        UnavailableError: the broker does not answer.
    """
    try:
        msgspec.convert(case_id, CaseId)
    except msgspec.ValidationError as error:
        raise RecordError("invalid_field", str(error), "case_id") from error
    partition = codec.partition_of(case_id[:15], settings.partitions)
    events = list(_ledger_of(settings, case_id, partition))
    policy_id = _policy_of(settings, case_id, partition)
    if not events or policy_id is None:
        raise RecordError("unknown_case", f"no case {case_id}")
    return explain(events, in_force(settings).policies[policy_id], policy_id)


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
    lines: list[LedgerEvent] = []
    for message in read_to_end(settings, CASE_EVENTS):
        with suppress(RecordError):
            event: LedgerEvent = codec.decode(CASE_EVENTS, message.value())
            # Of a case that was opened since the other topic was read, the next run tells.
            if event.case_id in held:
                lines.append(event)
    return lines, {case_id: policies[policy_id] for case_id, policy_id in held.items()}


def _ledger_of(settings: Settings, case_id: str, partition: int) -> Iterator[LedgerEvent]:
    wanted = case_id.encode()
    for message in read_to_end(settings, CASE_EVENTS, partition=partition):
        if wanted in (message.value() or b""):  # most lines are of other cases, and need not be decoded
            with suppress(RecordError):
                event: LedgerEvent = codec.decode(CASE_EVENTS, message.value())
                if event.case_id == case_id:
                    yield event


def _policy_of(settings: Settings, case_id: str, partition: int) -> str | None:
    found: str | None = None
    for message in read_to_end(settings, CASES, partition=partition):
        if message.key() == case_id.encode() and message.value() is not None:
            case: Case = codec.decode(CASES, message.value())
            found = case.policy
    return found
