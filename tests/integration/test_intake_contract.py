"""The intake against its own OpenAPI document: schemathesis sends what the document allows and what it forbids."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.settings import Settings
from tests.conftest import eventually, process
from tests.integration.test_intake import is_up

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOORS = {
    "/reports",
    "/photos",
    "/photos/{name}",
    "/open311/v2/servicerequestupdates.json",
    "/cases/{case_id}/commands",
    "/follow/{case_id}",
    "/open311/v2/requests.json",
    "/open311/v2/services.json",
    "/sources/wecom",
    "/sources/grid-events",
    "/sources/csv",
}


@pytest.fixture(scope="module")
def contract(broker: Settings) -> Iterator[Any]:
    """The document of a running intake."""
    with (
        process("producers.reports", broker, log=broker.data_dir / "intake.out"),
        httpx.Client(base_url=broker.intake_url) as client,
    ):
        eventually(lambda: is_up(client), within_s=30, what="the intake is ready")
        yield schemathesis.openapi.from_url(f"{broker.intake_url}/openapi.json").exclude(path_regex=r"\.xml$")


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_as_documented(contract: Any, mode: GenerationMode) -> None:
    """No input makes a server error, and each answer has a status, type and shape that the document names."""
    operations = [found.ok() for found in contract.get_all_operations()]
    assert {operation.path for operation in operations} >= DOORS
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # a path or a query of text has no wrong value

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=10,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def probe(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS, timeout=10)

        probe()
