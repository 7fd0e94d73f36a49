"""The ten bad records: the engine refuses each, for the reason the simulator wrote down."""

from types import SimpleNamespace

import pytest

from pipelines.agents.case_program import CaseProgram
from producers.simulator.bad_records import BadRecord, bad_records
from schemas import codec
from schemas.errors import RecordError
from tests.builders import NINE, POLICY, POLICY_ID, REGISTRY

PARTITIONS = 4
BAD = bad_records(REGISTRY, PARTITIONS, NINE)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.topic}-{bad.reason}")
def test_the_engine_gives_the_expected_reason(bad: BadRecord) -> None:
    """Each reaches a real lane by its key and becomes one dead letter there."""
    partition = codec.partition_of(bad.key, PARTITIONS)
    program = CaseProgram(partition, PARTITIONS, REGISTRY, {POLICY_ID: POLICY}, POLICY_ID)
    record = SimpleNamespace(
        offset=0,
        timestamp=int(NINE.timestamp() * 1000),
        key=bad.key.encode(),
        value=bad.value,
        headers=[],
    )

    with pytest.raises(RecordError) as refused:
        program.take(bad.topic, record)

    assert refused.value.reason == bad.reason


def test_they_are_ten_of_seven_kinds() -> None:
    """The summary expects ten dead letters; a single partition leaves none to be wrong about."""
    assert len(BAD) == 10
    assert len({bad.reason for bad in BAD}) == 7
    assert len(bad_records(REGISTRY, 1, NINE)) == 9
