"""Grafana's dashboards: every query runs as an analyst, gives rows, and gives what a scan of all rows gives."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from clickhouse_connect.driver import Client

from consumers.warehouse.rollups import refresh
from infra.clickhouse import Role, connect
from infra.migrate import migrate_warehouse
from infra.settings import Settings
from tests.bench import lake
from tests.grafana import DASHBOARDS, Panel, panels
from tests.warehouse import running_warehouse

UNTIL = datetime(2026, 11, 20, 0, 17, tzinfo=UTC)
PANELS = list(panels(UNTIL))
_LETTER = """
INSERT INTO dead_letters
    (process, reason, origin_topic, size_bytes, sha256, topic, `partition`, `offset`, appended_at, ce_id)
VALUES ('sink', 'not_json', 'reports.v1', 3, 'ab', 'dead.letters.v1', 0, 1, '2026-11-19 23:00:00', 'l-1')
"""
_GRID = """
INSERT INTO grids (registry, grid_id, name, name_en, village_id, village, street_id, street, as_of)
VALUES ('lake', '610117009009009', '无人网格', 'Nobody', '610117009009', '村', '610117009', '街', '2026-01-01 00:00:00')
"""
_PROGRESS = """
INSERT INTO sink_progress (sink, topic, at, records, rejects, lag, freshness_ms, write_ms)
VALUES ('sink-1', 'reports.v1', '2026-11-19 23:00:00', 10, 1, 0, 700, 90)
"""
_COUNTED = """
INSERT INTO reconciliations (at, topic, `table`, records, repeats, bad, expected, missing, twice)
VALUES ('2026-11-19 03:00:00', 'reports.v1', 'reports', 10, 1, 1, 8, 0, 0)
"""
_CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def reader(settings: Settings) -> Iterator[Client]:
    """An analyst of a lake that ends at UNTIL, rolled up."""
    with running_warehouse(settings):
        migrate_warehouse(settings)
        with closing(connect(settings, Role.WRITER)) as writer:
            lake.fill(writer.command, lake.parameters(30_000, f"{UNTIL:%Y-%m-%d %H:%M:%S}"))
            for statement in (_LETTER, _GRID, _PROGRESS, _COUNTED):
                writer.command(statement)
            refresh(writer)
        with closing(connect(settings, Role.READER)) as analyst:
            yield analyst


@pytest.mark.parametrize("panel", PANELS, ids=[panel.name for panel in PANELS])
def test_a_panel_shows_what_the_rows_say(reader: Client, panel: Panel) -> None:
    """From the roll-up and from the view, which reads every row: the same answer, and never an empty one."""
    shown = reader.query(panel.sql)

    assert shown.result_rows
    if panel.kind == "timeseries":
        assert shown.column_names[0] == "time"
    if panel.is_rolled_up:
        assert shown.result_rows == reader.query(panel.raw).result_rows


@pytest.mark.parametrize("panel", [p for p in PANELS if " r_case_hours " in p.sql], ids=lambda panel: panel.name)
def test_a_panel_of_cases_reads_few_rows(reader: Client, panel: Panel) -> None:
    """By hour and level alone, or by day: a change of its query that falls back to every row of the roll-up is seen."""
    plan = reader.query(f"EXPLAIN {panel.sql}").result_rows

    assert any(f"({projection})" in line for (line,) in plan for projection in ("totals", "days")), plan


def test_a_grid_nobody_ever_looked_at_is_watched_least(reader: Client) -> None:
    """It has no record, and is named all the same."""
    [panel] = [panel for panel in PANELS if "Grids least watched" in panel.title]

    grid_id, name, observed, due, unobserved = reader.query(panel.sql).result_rows[0]

    assert (grid_id, name, observed) == ("610117009009009", "无人网格", 0)
    assert unobserved == due > 23 * 60 - 60


def test_dashboards_are_whole() -> None:
    """Each names the plugin, is refreshed as often as the roll-ups promise, and has titles in both languages."""
    assert {path.stem for path in DASHBOARDS.glob("*.json")} == {"pipeline", "sla", "cameras"}
    for path in DASHBOARDS.glob("*.json"):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        assert dashboard["refresh"] == "30s"
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in dashboard["panels"]:
            assert _CHINESE.search(panel["title"])
            assert panel["datasource"]["type"] == "grafana-clickhouse-datasource"
