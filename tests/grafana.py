"""The queries of the Grafana dashboards, as the ClickHouse plugin would send them."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

DASHBOARDS = Path(__file__).resolve().parent.parent / "infra" / "grafana"
_RANGE = re.compile(r"now-(\d+)([hd])")
_MACRO = re.compile(r"\$__timeFilter\((\w+)\)")


class Panel(Struct, frozen=True, kw_only=True):
    """One panel's query: *sql* reads roll-ups, *raw* the views that define them, row by row."""

    dashboard: str
    title: str
    kind: str
    sql: str

    @property
    def name(self) -> str:
        """Return what a table calls it."""
        return f"{self.dashboard}: {self.title}"

    @property
    def is_rolled_up(self) -> bool:
        """Tell whether it reads a roll-up at all."""
        return " FROM r_" in self.sql

    @property
    def raw(self) -> str:
        """Return the same question asked of every row."""
        return re.sub(r" (FROM|JOIN) r_", r" \1 v_", self.sql)


def panels(until: datetime) -> Iterator[Panel]:
    """Yield the panels of every dashboard over its own range that ends at *until*."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        asked = _RANGE.fullmatch(dashboard["time"]["from"])
        assert asked is not None, dashboard["time"]
        since = until - timedelta(hours=int(asked[1]) * {"h": 1, "d": 24}[asked[2]])
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield Panel(
                    dashboard=path.stem,
                    title=panel["title"],
                    kind=panel["type"],
                    sql=_expanded(target["rawSql"], since, until),
                )


def _expanded(sql: str, since: datetime, until: datetime) -> str:
    """Put the plugin's macros into words, as its documentation has them."""
    ends = [f"toDateTime({int(instant.timestamp())})" for instant in (since, until)]
    sql = _MACRO.sub(lambda found: f"{found[1]} >= {ends[0]} AND {found[1]} <= {ends[1]}", sql)
    return sql.replace("$__fromTime", ends[0]).replace("$__toTime", ends[1])
