"""R32: the scenarios can fail. Each safeguard is switched off in turn, and must be missed."""

import random
from collections.abc import Callable
from functools import partial

import pytest

from tests.faults import scenarios
from tests.faults.conftest import SAFEGUARD
from tests.faults.fleet import HARD, Fleet
from tests.faults.scenarios import Scenario, Stack

# safeguard -> the scenario that misses it, and the hardships that make its absence felt at once
CAUGHT_BY: dict[str, tuple[Scenario, tuple[str, ...]]] = {
    "contiguity": (scenarios.joins, ("slow_recovery",)),
    "lane": (scenarios.kills, ("slow_acks",)),
    "fence": (scenarios.kills, ("slow_acks",)),
    "flow_control": (scenarios.joins, ("slow_recovery", "slow_agents")),
    "outputs_first": (scenarios.kills, ("slow_acks",)),
    "tick_ends": (scenarios.outage, scenarios.BEHIND),
    "frozen_worker": (partial(scenarios.freezes, rounds=3), ("slow_acks",)),
}


pytestmark = pytest.mark.timeout(400)  # a broken build may stand still at every step


@pytest.mark.faults
@pytest.mark.parametrize("safeguard", CAUGHT_BY)
def test_a_safeguard_switched_off_is_missed(
    stack: Stack, seed: int, safeguard: str, record_property: Callable[[str, str], None]
) -> None:
    """Each of them, by name."""
    _miss(stack, seed, safeguard, record_property)


def test_one_safeguard_drawn_by_seed_is_missed(
    stack: Stack, seed: int, record_property: Callable[[str, str], None]
) -> None:
    """Any run of the tests shows that they can fail."""
    _miss(stack, seed, random.Random(seed).choice(list(CAUGHT_BY)), record_property)


def _miss(stack: Stack, seed: int, safeguard: str, record_property: Callable[[str, str], None]) -> None:
    scenario, hardships = CAUGHT_BY[safeguard]
    with Fleet(stack.settings, *HARD, *hardships, safeguard) as fleet:
        try:
            found = scenario(stack, fleet, random.Random(seed))
        except pytest.fail.Exception as stuck:  # a build that does not even come to rest is found out as well
            found = [str(stuck)]
    assert found, f"nobody missed {safeguard}"
    record_property(SAFEGUARD, f"{safeguard} -> {found[0]}")
