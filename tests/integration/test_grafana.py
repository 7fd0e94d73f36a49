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

UNTIL = datetime(2026, 11, 20, tzinfo=UTC)
PANELS = list(panels(UNTIL))
_LETTER = """
INSERT INTO dead_letters
    (process, reason, origin_topic, size_bytes, sha256, topic, `partition`, `offset`, appended_at, ce_id)
VALUES ('sink', 'not_json', 'reports.v1', 3, 'ab', 'dead.letters.v1', 0, 1, '2026-11-19 23:00:00', 'l-1')
"""
_CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def reader(settings: Settings) -> Iterator[Client]:
    """An analyst of a lake that ends at UNTIL, rolled up."""
    with running_warehouse(settings):
        migrate_warehouse(settings)
        with closing(connect(settings, Role.WRITER)) as writer:
            lake.fill(writer.command, lake.parameters(30_000, f"{UNTIL:%Y-%m-%d %H:%M:%S}"))
            writer.command(_LETTER)
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
