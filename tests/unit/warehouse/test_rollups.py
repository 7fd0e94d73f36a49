"""Which buckets a refresh writes again: those of all that is not known to have been seen."""

import pytest

from consumers.warehouse.domain.rollups import (
    ROLL_UPS,
    Part,
    changed_tables,
    is_from_scratch,
    known_parts,
    pause_s,
    replaced,
    seen_after,
    touched,
)

_CAMERAS = next(rollup for rollup in ROLL_UPS if rollup.name == "camera_hours")


def _part(name: str, block: int, *, uuid: str = "u", partition: str = "202603") -> Part:
    return Part(table="camera_telemetry", uuid=uuid, partition=partition, name=name, block=block)


def test_only_parts_without_a_new_block_are_known() -> None:
    """A part merged of old and new rows reaches beyond what was seen."""
    seen = seen_after([_part("a_1_1", 1), _part("a_2_2", 2)])

    merged_of_seen, merged_with_new = _part("a_1_2_1", 2), _part("a_1_3_1", 3)

    assert known_parts([merged_of_seen], seen) == {"camera_telemetry": ["a_1_2_1"]}
    assert known_parts([merged_with_new], seen) == {}
    assert changed_tables([merged_of_seen], seen) == set()
    assert changed_tables([merged_with_new], seen) == {"camera_telemetry"}


def test_a_new_month_is_new_whatever_its_blocks() -> None:
    """On a replicated table blocks are counted in each partition."""
    seen = seen_after([_part("a", 9)])

    assert changed_tables([_part("a", 9), _part("b", 0, partition="202604")], seen) == {"camera_telemetry"}


def test_all_is_written_anew_when_something_seen_is_gone() -> None:
    """The first time, after a rebuild (another UUID), and once a month has been dropped."""
    seen = seen_after([_part("a", 9), _part("b", 10, partition="202604")])

    assert is_from_scratch([_part("a", 9)], {})
    assert is_from_scratch([_part("a", 9, uuid="v"), _part("b", 10, uuid="v", partition="202604")], seen)
    assert is_from_scratch([_part("b", 10, partition="202604")], seen)
    assert not is_from_scratch([_part("a", 12), _part("b", 10, partition="202604")], seen)


def test_an_empty_warehouse_is_no_work() -> None:
    """Until the first row there is nothing to write anew, however often it is looked at."""
    assert not is_from_scratch([], {})
    assert changed_tables([], {}) == set()


@pytest.mark.parametrize(("took_s", "pause"), [(0, 5), (1, 5), (3, 12), (60, 20)])
def test_a_long_refresh_is_followed_by_a_long_pause(took_s: float, pause: float) -> None:
    """Those who ask keep most of the machine, and what they read stays younger than half a minute."""
    assert pause_s(took_s) == pause


def test_touched_are_the_buckets_outside_of_known_parts() -> None:
    """Never those of new parts by name: a part that merges between two queries would be missed."""
    known = {"camera_telemetry": ["a_1_2_1"]}

    assert touched(_CAMERAS, {"camera_telemetry"}, known) == (
        "SELECT DISTINCT toStartOfHour(observed_at) AS bucket FROM camera_telemetry WHERE _part NOT IN ('a_1_2_1')"
    )


def test_months_are_replaced_in_one_statement() -> None:
    """And those without rows go with it; nothing to do is no statement."""
    assert replaced(_CAMERAS, ["202604", "202603"], ["202601"]) == (
        "ALTER TABLE r_camera_hours REPLACE PARTITION ID '202603' FROM r_camera_hours_next,"
        " REPLACE PARTITION ID '202604' FROM r_camera_hours_next, DROP PARTITION ID '202601'"
    )
    assert replaced(_CAMERAS, [], []) is None
