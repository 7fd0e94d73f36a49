"""What the records of `reference` add up to."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.errors import SetupError
from schemas.grid import District, Grid
from schemas.policy import Policy, policy_hash
from schemas.reference import EDITION, Edition, assemble, latest, policy_key, registry_key
from schemas.registry import Registry, registry_hash
from tests.builders import NINE, POLICY, POLICY_ID, REGISTRY, seconds

DISTRICT_ID = registry_hash(REGISTRY.content)
OTHER = replace(REGISTRY.content, absences=[])
OTHER_ID = registry_hash(OTHER)
FIRST = Edition(policy=POLICY_ID, registry=DISTRICT_ID, published_at=NINE)
SECOND = Edition(policy=POLICY_ID, registry=OTHER_ID, published_at=NINE + seconds(1))
Write = tuple[bytes, bytes]


def write(key: str, value: Policy | District | Edition) -> Write:
    return key.encode(), msgspec.json.encode(value)


WRITES = [
    write(policy_key(POLICY_ID), POLICY),
    write(registry_key(DISTRICT_ID), REGISTRY.content),
    write(EDITION, FIRST),
    write(registry_key(OTHER_ID), OTHER),
    write(EDITION, SECOND),
]


def test_what_the_edition_names_is_in_force() -> None:
    """The registry is the same that was published, and policies are found by their hash."""
    found = assemble(latest(WRITES))

    assert found.edition == SECOND
    assert found.registry == OTHER
    assert {ident: policy_hash(policy) for ident, policy in found.policies.items()} == {POLICY_ID: POLICY_ID}
    assert registry_hash(Registry(found.registry).content) == OTHER_ID


@given(st.integers(0, len(WRITES)))
def test_wherever_a_publisher_dies_a_whole_edition_is_in_force(cut: int) -> None:
    """Contents come before the edition that names them: the one before counts, or none yet."""
    if cut < 3:
        with pytest.raises(SetupError, match="gridwatch publish"):
            assemble(latest(WRITES[:cut]))
    else:
        assert assemble(latest(WRITES[:cut])).edition == (SECOND if cut == len(WRITES) else FIRST)


@pytest.mark.parametrize("gone", [policy_key(POLICY_ID), registry_key(OTHER_ID)])
def test_a_content_that_is_gone_is_told(gone: str) -> None:
    """A worker must not start on half of an edition."""
    with pytest.raises(SetupError, match="missing"):
        assemble(latest([*WRITES, (gone.encode(), None)]))


def test_what_a_later_release_publishes_is_left_alone() -> None:
    """Keys of a kind that this release does not know are none of its business."""
    assert assemble(latest([*WRITES, (b"weather:1", b"{}")])).edition == SECOND


def a_large_district(villages: int) -> District:
    """Return a district of eight grids of sixty corners a village."""
    plan, ring = REGISTRY.content.map, [(109 + n / 1e6, 34.5 + n / 1e6) for n in range(60)]
    codes = [f"610117001{n:03d}" for n in range(villages)]
    grids = [Grid(id=f"{v}{n:03d}", name="网格", name_en="Grid", polygon=ring) for v in codes for n in range(8)]
    return replace(
        REGISTRY.content,
        map=replace(plan, villages=[replace(plan.villages[0], id=v) for v in codes], grids=grids),
        people=[], absences=[], cameras=[],
    )  # fmt: skip


def test_a_district_of_thousands_of_grids_fits_a_record() -> None:
    """Six thousand grids of sixty corners are below what the topic takes."""
    assert len(msgspec.json.encode(a_large_district(750))) < 16 << 20
