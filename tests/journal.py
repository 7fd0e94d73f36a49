"""A fortnight of a small district as a journal: plain rows of who did what when, from one seed.

It knows nothing of SQL and is no product of the rules: answers to analysts' questions are computed from it in pandas
and held against what the warehouse says of the same rows.
"""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import pandas as pd
from clickhouse_connect.driver import Client

Rows = list[dict[str, Any]]

MONDAY: Final = datetime(2026, 11, 2, tzinfo=UTC)  # telemetry is kept for 90 days, so the journal is of late
_GRIDS: Final = tuple(f"610117{s}{v}{g}" for s in ("001", "002") for v in ("001", "002") for g in ("001", "002"))
_ITEMS: Final = ("01001", "03001", "04001", "05001")
UNSEEN: Final = "610117002002009"  # a grid of the district of which there is no record at all
_CAMERA_SECONDS: Final = 5400
# The clock that a line starts, and its hours; what comes between belongs to the clock that runs.
_STARTS: Final = {
    "dispatched": ("acknowledge", 1), "acknowledged": ("arrive", 1), "arrived": ("dispose", 24),
    "handled": ("verify", 8), "reworked": ("dispose", 24), "reopened": ("dispatch", 1),
}  # fmt: skip


def village_of(grid_id: str) -> str:
    """Return the name of the village that a grid is in."""
    return f"{grid_id[6:9]}街道{grid_id[9:12]}村"


def _clock(kind: str, at: datetime, clock: str | None, due: datetime | None) -> tuple[str | None, datetime | None]:
    """Return the clock that runs after a line of *kind*, and its deadline."""
    if kind in ("verified", "archived", "voided"):
        return None, None
    if kind in _STARTS:
        started, hours = _STARTS[kind]
        return started, at + timedelta(hours=hours)
    return clock, due


class Journal:
    """Rows by table, and the same as frames without the repeats."""

    def __init__(self, seed: int, cases: int) -> None:
        """Write the fortnight of *seed* with *cases* cases."""
        self._rng = Random(seed)
        self.rows: dict[str, Rows] = {
            name: []
            for name in ("reports", "case_events", "cases", "alerts", "visits", "camera_events", "camera_telemetry")
        }
        for number in range(cases):
            self._case(number)
        for place, grid in enumerate(_GRIDS):
            self._camera(place, grid)
            self._visits(grid)

    def frame(self, table: str) -> pd.DataFrame:
        """Return what happened, each thing once."""
        return pd.DataFrame(self.rows[table])

    def insert(self, client: Client) -> None:
        """Put the rows into the warehouse, one in thirty of them twice, as after a kill; and the grids, by name."""
        grids = [
            ["r", grid, f"网格{grid[9:]}", f"Grid {grid[9:]}", grid[:12], village_of(grid), grid[:9], grid[6:9], MONDAY]
            for grid in (*_GRIDS, UNSEEN)
        ]
        client.insert("grids", grids)
        for table, rows in self.rows.items():
            repeats = [row for row in rows if self._rng.random() < 1 / 30]
            names = list(rows[0])
            for offset, part in enumerate((rows, repeats if table != "camera_telemetry" else [])):
                content = [[*row.values(), f"{table}.v1", 0, offset * 1_000_000 + n] for n, row in enumerate(part)]
                if content:
                    client.insert(table, content, column_names=[*names, "topic", "partition", "offset"])

    def _case(self, number: int) -> None:
        rng = self._rng
        grid, item = rng.choice(_GRIDS), rng.choice(_ITEMS)
        channel = rng.choice(("worker", "worker", "resident", "camera"))
        at = MONDAY + timedelta(seconds=rng.randrange(14 * 86400))
        worker, case_id = f"pt-{grid[6:]}", f"{grid}-{number:010d}"
        if channel != "camera":
            self.rows["reports"].append(
                {"report_id": f"r-{number}", "grid_id": grid, "item_code": item, "channel": channel,
                 "occurred_at": at - timedelta(seconds=rng.randrange(600)), "received_at": at, "description": "演示",
                 "reported_by": worker if channel == "worker" else None,
                 "appended_at": at + timedelta(milliseconds=rng.randrange(900)), "ce_id": f"r-{number}"}
            )  # fmt: skip
        level, breaches, closure, clock, due = "village", 0, None, None, None
        steps = self._steps()
        for place, (kind, stage) in enumerate(steps, 1):
            if kind == "escalated":
                level = rng.choice(("street", "street", "district"))
            breaches += kind == "breached"
            if kind in ("archived", "voided", "reopened"):
                ends = {"voided": "void", "archived": rng.choice(("fixed", "fixed", "fixed", "no_action"))}
                closure = ends.get(kind)
            clock, due = _clock(kind, at, clock, due)
            by = {"opened": worker, "acknowledged": worker, "arrived": worker, "handled": worker, "verified": "ft"}
            self.rows["case_events"].append(
                {"event_id": f"e-{number}-{place}", "case_id": case_id, "grid_id": grid, "number": place, "kind": kind,
                 "at": at, "stage": stage, "level": level, "item_code": item, "channel": channel, "by": by.get(kind),
                 "assignee": worker, "repeat": 0, "closure": closure if kind in ("archived", "voided") else None,
                 "clock": clock, "due_at": due, "appended_at": at, "ce_id": f"e-{number}-{place}"}
            )  # fmt: skip
            if kind in ("breached", "escalated"):
                self._alert(number, kind, grid, at, case_id)
            at += timedelta(seconds=30 + rng.expovariate(1 / 1800))
        last = self.rows["case_events"][-1]
        opened = self.rows["case_events"][-len(steps)]["at"]
        self.rows["cases"].append(
            {"case_id": case_id, "grid_id": grid, "item_code": item, "channel": channel, "urgency": "normal",
             "origin_id": f"r-{number}", "summary": "演示", "stage": last["stage"], "level": level, "opened_at": opened,
             "occurred_at": opened - timedelta(milliseconds=rng.randrange(600_000)),
             "version": len(steps), "policy": "p", "breaches": breaches, "rework": 0, "closure": closure,
             "appended_at": last["at"], "ce_id": f"{case_id}/{len(steps)}"}
        )  # fmt: skip

    def _steps(self) -> list[tuple[str, str]]:
        """Draw what happens to a case: kinds of ledger lines, and the stage after each."""
        rng = self._rng
        steps, fate = [("opened", "reported"), ("dispatched", "dispatched")], rng.random()
        if fate < 0.06:
            steps += [("voided", "archived")]
        elif fate > 0.12:
            late = rng.random() < 0.3
            steps += [("breached", "dispatched"), ("escalated", "dispatched")] if late else []
            steps += [("acknowledged", "handling"), ("arrived", "handling"), ("handled", "verifying")]
            steps += [("reworked", "handling"), ("handled", "verifying")] if rng.random() < 0.15 else []
            steps += [("verified", "verifying"), ("archived", "archived")] if rng.random() < 0.85 else []
            if steps[-1][0] == "archived" and rng.random() < 0.1:
                steps += [("reopened", "reported"), ("dispatched", "dispatched")]
        return steps

    def _alert(self, number: int, kind: str, grid: str, at: datetime, case_id: str) -> None:
        named = {"breached": "sla_breach", "escalated": "sla_escalation"}[kind]
        self.rows["alerts"].append(
            {"alert_id": f"a-{number}-{kind}", "group_key": case_id, "status": "firing", "kind": named, "grid_id": grid,
             "at": at, "case_id": case_id, "repeat": 0, "appended_at": at, "ce_id": f"a-{number}-{kind}"}
        )  # fmt: skip

    def _visits(self, grid: str) -> None:
        """Note what the grid's worker says of visits, on the first morning and later."""
        rng = self._rng
        for number in range(rng.randrange(5, 12)):
            at = MONDAY + timedelta(minutes=rng.randrange(120 if number < 3 else 20_000), seconds=rng.randrange(60))
            ident = f"v-{grid[6:]}-{number}"
            self.rows["visits"].append(
                {"visit_id": ident, "grid_id": grid, "kind": rng.choice(("home_visit", "home_visit", "publicity")),
                 "worker": f"pt-{grid[6:]}", "occurred_at": at - timedelta(minutes=number), "received_at": at,
                 "households": rng.randrange(1, 9), "appended_at": at, "ce_id": ident}
            )  # fmt: skip

    def _camera(self, place: int, grid: str) -> None:
        """Note each second of the grid's camera from Monday 00:10 on; now and then it is away for some minutes."""
        rng, start = self._rng, MONDAY + timedelta(minutes=10)
        camera, away_until = f"cam-{grid[6:]}", -1
        for second in range(_CAMERA_SECONDS - place * 60):  # some fall silent before others
            at = start + timedelta(seconds=second, microseconds=place)
            if second > away_until and rng.random() < 1 / 1500:
                away_until = second + rng.randrange(60, 400)
                for phase, when in (("open", second), ("end", away_until)):
                    moment = start + timedelta(seconds=when)
                    self.rows["camera_events"].append(
                        {"event_id": f"{camera}-{second}", "camera_id": camera, "grid_id": grid, "kind": "offline",
                         "phase": phase, "occurred_at": moment, "started_at": start + timedelta(seconds=second),
                         "score": 1.0, "appended_at": moment, "ce_id": f"{camera}-{second}:{phase}"}
                    )  # fmt: skip
            status = "offline" if second <= away_until else "live"
            self.rows["camera_telemetry"].append(
                {"camera_id": camera, "grid_id": grid, "observed_at": at, "status": status,
                 "fps": 25.0 if status == "live" else 0.0, "bitrate_bps": 2_000_000, "lost_packets": 0, "reconnects": 0,
                 "frame_age_ms": 20, "appended_at": at, "ce_id": f"{camera}/{second}"}
            )  # fmt: skip
