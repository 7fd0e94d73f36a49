# ruff: noqa: S608 - the names of our own tables and views
"""Roll-ups on the real warehouse: what dashboards read is what the views say, whatever was inserted, twice or late."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from clickhouse_connect.driver import Client

from consumers.warehouse.domain.rollups import ROLL_UPS, RollUp
from consumers.warehouse.rollups import refresh
from infra.clickhouse import Role, connect
from infra.migrate import migrate_warehouse
from infra.settings import Settings
from tests.bench import lake
from tests.conftest import eventually, process
from tests.warehouse import running_warehouse

_LATE = """
INSERT INTO case_events (event_id, case_id, grid_id, number, kind, at, stage, level, item_code, channel, repeat, topic,
    `partition`, `offset`, appended_at, ce_id)
SELECT toString(number), concat('late-', toString(number)), '610117001001001', 1, 'opened',
    toDateTime64('2026-02-03 04:05:06', 6, 'UTC') + toIntervalHour(number * 400), 'reported', 'village', '01001',
    'worker', 0, 'case.events.v1', 0, {from:UInt64} + number, now64(3), toString(number)
FROM numbers(5)
"""


@pytest.fixture(scope="module")
def warehouse(settings: Settings) -> Iterator[Settings]:
    """A warehouse with a lake of 30,000 rows."""
    with running_warehouse(settings):
        migrate_warehouse(settings)
        with closing(connect(settings, Role.WRITER)) as client:
            lake.fill(client.command, lake.parameters(30_000))
        yield settings


@pytest.fixture
def client(warehouse: Settings) -> Iterator[Client]:
    """A writer."""
    with closing(connect(warehouse, Role.WRITER)) as writer:
        yield writer


def _differences(client: Client, rollup: RollUp) -> int:
    """Return how many rows are only in the roll-up or only in its view; both must have some."""
    rolled, exact = f"SELECT * FROM {rollup.table}", f"SELECT * FROM v_{rollup.name}"
    assert client.command(f"SELECT count() FROM {rollup.table}"), rollup.name
    # EXCEPT does not see a row that is there twice; the sums do.
    hashes = (f"SELECT count(), sum(cityHash64(*)) FROM ({query})" for query in (rolled, exact))
    one, other = (client.query(query).result_rows[0] for query in hashes)
    rows = f"(({rolled} EXCEPT {exact}) UNION ALL ({exact} EXCEPT {rolled}))"
    differences = int(client.command(f"SELECT count() FROM {rows}"))
    assert (one == other) is (differences == 0), rollup.name
    return differences


def _all_agree(client: Client) -> None:
    assert {rollup.name: _differences(client, rollup) for rollup in ROLL_UPS} == {r.name: 0 for r in ROLL_UPS}


def _parts_of(client: Client, table: str) -> list[str]:
    rows = client.query("SELECT name FROM system.parts WHERE active AND table = {t:String}", {"t": table}).result_rows
    return sorted(name for (name,) in rows)


def test_every_roll_up_equals_its_view_after_each_refresh(client: Client) -> None:
    """First of all, then of what came late, then of what came twice."""
    refresh(client)
    _all_agree(client)

    client.command(_LATE, {"from": 10_000_000})
    assert _differences(client, ROLL_UPS[0]) == 5, "the refresh before knows nothing of what came after"
    refresh(client)
    _all_agree(client)

    client.command(_LATE, {"from": 20_000_000})
    refresh(client)
    _all_agree(client)


def test_a_merge_before_the_refresh_hides_nothing(client: Client) -> None:
    """A part that holds old and new rows is not one that was seen."""
    refresh(client)
    client.command(
        _LATE.replace("'late-'", "'merged-'"),
        {"from": 30_000_000},
    )
    client.command("OPTIMIZE TABLE case_events FINAL")
    refresh(client)

    _all_agree(client)


def test_a_quiet_warehouse_costs_nothing_and_the_time_goes_on(client: Client) -> None:
    """No part of a roll-up is written again; what people read is as of now all the same."""
    refresh(client)
    before, as_of = _parts_of(client, "r_camera_hours"), client.command("SELECT min(as_of) FROM v_rollups")
    refresh(client)

    assert _parts_of(client, "r_camera_hours") == before
    assert client.command("SELECT min(as_of) FROM v_rollups") > as_of
    assert client.query("SELECT max(age_s) FROM v_rollups").result_rows[0][0] < 30


def test_a_refresh_that_was_killed_is_made_up_for(client: Client) -> None:
    """What it left lying about is no obstacle; what it did not note is done again."""
    refresh(client)
    client.command(_LATE.replace("'late-'", "'killed-'"), {"from": 40_000_000})
    client.command("CREATE TABLE r_case_hours_next AS r_case_hours")
    client.command("INSERT INTO r_case_hours_next SELECT * FROM r_case_hours")
    refresh(client)

    _all_agree(client)


def test_a_source_that_was_rebuilt_is_rolled_up_anew(client: Client) -> None:
    """Rows that are gone from the view are gone from the roll-up, whole months included."""
    refresh(client)
    client.command("CREATE TABLE rebuilt AS alerts")
    client.command("INSERT INTO rebuilt SELECT * FROM alerts WHERE toYYYYMM(at) != 202605 AND kind != 'sla_warning'")
    client.command("RENAME TABLE alerts TO gone, rebuilt TO alerts")
    refresh(client)

    _all_agree(client)
    assert client.command("SELECT countIf(toYYYYMM(hour) = 202605) FROM r_alert_hours") == 0
    client.command("DROP TABLE gone")


def test_the_process_keeps_them_fresh_whatever_kills_it(client: Client, warehouse: Settings) -> None:
    """What is in the warehouse is in the roll-up within the promised thirty seconds; no kill makes it drift."""
    for life, in_the_middle in enumerate((True, True, False)):
        with process("consumers.warehouse.rollups", warehouse, log=warehouse.data_dir / "rollups.out") as child:
            client.command(_LATE.replace("'late-'", f"'life-{life}-'"), {"from": (50 + life) * 1_000_000})
            at = client.command("SELECT now64(3, 'UTC')")
            eventually(
                lambda at=at, early=in_the_middle: (
                    (early and client.command("EXISTS TABLE r_case_hours_next"))
                    or client.command("SELECT min(as_of) FROM v_rollups") > at
                ),
                within_s=30,
                what="all roll-ups are fresh, or one is being written",
            )
            child.kill()

    _all_agree(client)
