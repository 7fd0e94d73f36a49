"""Wiring of the case engine: the Faust app that `gridwatch worker` runs."""

from functools import partial

from infra import logs, reference
from infra.provision import check_topics
from infra.settings import Settings
from pipelines.agents.case_program import INPUTS, CaseProgram
from pipelines.stream.app import StreamApp, create_stream_app
from schemas.registry import Registry

APP_ID = "gridwatch-cases"


def create_app(settings: Settings) -> StreamApp:
    """Return the case engine, ready to run.

    Checks every topic and takes registry and policy from `reference`, as the latest edition
    names them: open cases keep the policy they were opened under.

    Raises:
        SetupError: a topic is wrong, or nothing is published.
        UnavailableError: the broker does not answer.
    """
    check_topics(settings)
    found = reference.in_force(settings)
    logs.logger().info("edition_taken", policy=found.edition.policy, registry=found.edition.registry)
    return create_stream_app(
        APP_ID,
        settings,
        inputs=INPUTS,
        make_program=partial(
            CaseProgram,
            partitions=settings.partitions,
            registry=Registry(found.registry),
            policies=found.policies,
            policy_id=found.edition.policy,
        ),
    )
