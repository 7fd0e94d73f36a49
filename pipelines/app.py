"""Wiring of the case engine: the Faust app that `gridwatch worker` runs."""

from functools import partial

import msgspec

from infra.kafka import Producer, read_to_end
from infra.provision import check_topics
from infra.settings import Settings
from pipelines.agents.case_program import INPUTS, CaseProgram
from pipelines.stream.app import StreamApp, create_stream_app
from schemas import codec
from schemas.grid import load_registry
from schemas.policy import Policy, load_policy, policy_hash
from schemas.topics import REFERENCE

APP_ID = "gridwatch-cases"


def create_app(settings: Settings) -> StreamApp:
    """Return the case engine, ready to run.

    Reads the district's data files, checks every topic, and publishes the policy on
    `reference` when it is new: open cases keep the policy they were opened under.

    Raises:
        SetupError: a data file or a topic is wrong.
        UnavailableError: the broker does not answer.
    """
    registry, policy = load_registry(settings.district_dir), load_policy(settings.district_dir)
    check_topics(settings)
    policy_id, policies = policy_hash(policy), published_policies(settings)
    if policy_id not in policies:
        publish_policy(settings, policy_id, policy)
        policies[policy_id] = policy
    return create_stream_app(
        APP_ID,
        settings,
        inputs=INPUTS,
        make_program=partial(
            CaseProgram, partitions=settings.partitions, registry=registry, policies=policies, policy_id=policy_id
        ),
    )


def published_policies(settings: Settings) -> dict[str, Policy]:
    """Return every policy on `reference`, by content hash."""
    found = {}
    for message in read_to_end(settings, REFERENCE):
        key, value = message.key(), message.value()
        if key is not None and value is not None:
            found[key.decode().removeprefix("policy:")] = msgspec.json.decode(value, type=Policy)
    return found


def publish_policy(settings: Settings, policy_id: str, policy: Policy) -> None:
    """Write *policy* to `reference`; return when the broker has it.

    Raises:
        UnavailableError: the broker did not acknowledge within 30 s.
    """
    key = f"policy:{policy_id}"
    headers = [("ce_id", key.encode()), ("ce_type", REFERENCE.ce_type.encode()), ("ce_specversion", b"1.0")]
    with Producer(settings, "worker") as producer:
        producer.send_raw(REFERENCE.name, key=key.encode(), value=codec.encode(policy), headers=headers).result(30.0)
