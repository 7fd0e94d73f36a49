"""The 25 questions of docs/analysts.md: each query's answer is the one that pandas computes from the journal."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from clickhouse_connect.driver import Client

from infra.clickhouse import Role, connect
from infra.migrate import migrate_warehouse
from infra.settings import Settings
from tests.conftest import ROOT
from tests.journal import UNSEEN, Journal, village_of
from tests.warehouse import running_warehouse

_QUESTION = re.compile(r"^### (\d+)\. ([^\n]*)\n```sql\n(.*?)```", re.M | re.S)
QUESTIONS = {
    int(number): (title, sql)
    for number, title, sql in _QUESTION.findall((ROOT / "docs" / "analysts.md").read_text(encoding="utf-8"))
}
JOURNAL = Journal(seed=11, cases=400)
EVENTS, CASES, REPORTS = (JOURNAL.frame(name) for name in ("case_events", "cases", "reports"))
ALERTS, CAMERAS, SECONDS = (JOURNAL.frame(name) for name in ("alerts", "camera_events", "camera_telemetry"))
VISITS = JOURNAL.frame("visits")
OPENED = EVENTS[EVENTS.kind == "opened"]

Answer = list[tuple[Any, ...]]


def _beijing(instants: Any) -> Any:
    return instants.dt.tz_convert("Asia/Shanghai")


def _rows(frame: pd.DataFrame) -> Answer:
    return [tuple(row) for row in frame.itertuples(index=False)]


def _counted(series: Any) -> Answer:
    """Return (value, how often) in the order of values."""
    return sorted(series.value_counts().items())


def _most(series: Any, limit: int | None = None) -> Answer:
    """Return (value, how often), most first, equals in the order of values."""
    return sorted(series.value_counts().items(), key=lambda found: (-found[1], found[0]))[:limit]


def _first(kind: str) -> Any:
    return EVENTS[EVENTS.kind == kind].groupby("case_id")["at"].min()


def _channels() -> Answer:
    return [(channel, n, n / len(OPENED)) for channel, n in _counted(OPENED.channel)]


def _put_right() -> Answer:
    streets = CASES.assign(street=CASES.grid_id.str[:9]).groupby("street")["closure"]
    return [(street, len(of), (n := int((of == "fixed").sum())), n / len(of)) for street, of in streets]


def _steps() -> Answer:
    cases = CASES[CASES.closure != "void"].set_index("case_id")
    settled = EVENTS[EVENTS.kind == "handled"].groupby("case_id")["at"].max()
    times = pd.DataFrame(
        {"seen": cases.occurred_at, "case": cases.opened_at, "dispatch": _first("dispatched"), "settled": settled}
        | {"acknowledge": _first("acknowledged"), "arrive": _first("arrived")}
    ).reindex(cases.index)
    steps = ["seen_to_case", "case_to_dispatch", "dispatch_to_acknowledge", "acknowledge_to_arrive"]
    steps += ["arrive_to_settled", "acknowledge_to_settled", "seen_to_settled"]
    answer = []
    for step in sorted(steps):
        start, end = step.split("_to_")
        took = ((times[end] - times[start]).dropna() / pd.Timedelta(milliseconds=1)).astype(int)
        answer.append((step, len(took), took.quantile(0.5), took.quantile(0.9)))
    return answer


def _until_archived() -> Answer:
    ends = EVENTS[EVENTS.kind == "archived"].groupby("case_id").agg(item=("item_code", "first"), last=("at", "max"))
    took = (ends["last"] - _first("opened").reindex(ends.index)).dt.floor("ms").dt.total_seconds()
    return [(item, len(of), of.quantile(0.9)) for item, of in took.groupby(ends["item"])]


def _reworked() -> Answer:
    """Of the cases whose last deadline fell into the week, wherever they were reported; void ones are not owed."""
    owed = EVENTS[EVENTS.clock.notna()].groupby("case_id").last()
    owed = owed[~owed.index.isin(CASES[CASES.closure == "void"].case_id)]
    needed = owed[_in_first_week(owed.due_at)].grid_id.str[:9].value_counts()
    again = EVENTS[(EVENTS.kind == "reworked") & _in_first_week(EVENTS["at"])].grid_id.str[:9].value_counts()
    return [(street, again[street], needed[street], again[street] / needed[street]) for street in sorted(needed.index)]


def _in_first_week(instants: Any) -> Any:
    return _beijing(instants).dt.date.between(pd.Timestamp("2026-11-02").date(), pd.Timestamp("2026-11-08").date())


def _homes() -> Answer:
    went = VISITS[VISITS.kind == "home_visit"]
    return [(village, len(of), of.households.sum()) for village, of in went.groupby(went.grid_id.map(village_of))]


def _unacknowledged() -> Answer:
    done = set(EVENTS[EVENTS.kind.isin(["acknowledged", "voided"])].case_id)
    return [(case,) for case in sorted(set(EVENTS.case_id) - done)]


def _conserved() -> Answer:
    return [
        (
            grid,
            len(of),
            (n_archived := int(((of.stage == "archived") & (of.closure != "void")).sum())),
            (n_open := int((of.stage != "archived").sum())),
            (n_void := int((of.closure == "void").sum())),
            len(of) - n_archived - n_open - n_void,
        )
        for grid, of in CASES.groupby("grid_id")
    ]


def _before_after() -> Answer:
    day = _beijing(EVENTS["at"]).dt.tz_localize(None).dt.normalize()
    distance = (day - pd.Timestamp("2026-11-09")).dt.days
    near = EVENTS.assign(after=distance >= 0)[(distance >= -7) & (distance < 7)]
    return [
        (
            item,
            ((of.kind == "opened") & ~of.after).sum(),
            ((of.kind == "opened") & of.after).sum(),
            ((of.kind == "breached") & of.after).sum() - ((of.kind == "breached") & ~of.after).sum(),
        )
        for item, of in near[near.kind.isin(["opened", "breached"])].groupby("item_code")
    ]


def _busiest() -> Answer:
    at = _beijing(OPENED["at"])
    cells = pd.Series(list(zip(at.dt.day_of_week + 1, at.dt.hour, strict=True)))
    return [(*cell, n) for cell, n in _most(cells, 5)]


def _online() -> Answer:
    heard = SECONDS.observed_at.max().floor("s") + pd.Timedelta(seconds=1)
    answer = []
    for camera, of in SECONDS.groupby("camera_id"):
        due = int((heard - of.observed_at.min().floor("s")).total_seconds())
        online = int((of.status == "live").sum())
        answer.append((camera, online, due, online / due))
    return answer


def _episodes() -> Answer:
    ends = CAMERAS[CAMERAS.phase == "end"]
    lasted = (ends.occurred_at - ends.started_at).dt.total_seconds()
    return [(camera, len(of), of.mean()) for camera, of in lasted.groupby(ends.camera_id)]


def _unobserved() -> Answer:
    since, until = pd.Timestamp("2026-11-02", tz="UTC"), pd.Timestamp("2026-11-02 02:00", tz="UTC")
    there = EVENTS[EVENTS.kind.isin(["arrived", "handled"])]
    looks = pd.concat(
        [
            SECONDS[["grid_id", "observed_at", "status"]].set_axis(["grid_id", "at", "status"], axis=1),
            REPORTS[REPORTS.reported_by.notna()][["grid_id", "received_at"]].set_axis(["grid_id", "at"], axis=1),
            VISITS[["grid_id", "received_at"]].set_axis(["grid_id", "at"], axis=1),
            there[["grid_id", "at"]],
        ]
    )
    looks["minute"] = looks["at"].dt.floor("min")
    answer = []
    for grid, of in looks.groupby("grid_id"):
        due = int((until - since).total_seconds() // 60)  # every grid was known from that Monday on
        seen = of[(of.status.isna() | (of.status == "live")) & (of.minute >= since) & (of.minute < until)]
        answer.append((grid, due, due - seen.minute.nunique()))
    return [*answer, (UNSEEN, 120, 120)]


def _alerts_a_day() -> Answer:
    found = pd.Series(list(zip(_beijing(ALERTS["at"]).dt.date, ALERTS.kind, strict=True)))
    return [(*cell, n) for cell, n in _counted(found)]


def _by_street() -> Answer:
    streets = REPORTS.assign(street=REPORTS.grid_id.str[:9]).groupby("street")["channel"]
    return [(street, (of == "resident").sum(), (of == "worker").sum()) for street, of in streets]


def _week_to_week() -> Answer:
    monday = _beijing(OPENED["at"]).dt.tz_localize(None).dt.to_period("W-SUN").dt.start_time
    found = pd.crosstab(OPENED.item_code, monday)
    first, second = found[pd.Timestamp("2026-11-02")], found[pd.Timestamp("2026-11-09")]
    return _rows(pd.DataFrame({"i": found.index, "f": first, "s": second, "c": second / first - 1}))


def _again() -> Answer:
    cells = pd.Series(list(zip(OPENED.grid_id, OPENED.item_code, strict=True)))
    return [(*cell, n) for cell, n in _most(cells) if n >= 12]


ANSWERS: dict[int, Callable[[], Answer]] = {
    1: lambda: _counted(OPENED.grid_id),
    2: lambda: _counted(_beijing(OPENED["at"]).dt.date),
    3: _channels,
    4: lambda: _counted(CASES[CASES.stage != "archived"].stage),
    5: _put_right,
    6: lambda: _most(EVENTS[EVENTS.kind == "breached"].grid_id, 5),
    7: lambda: _counted(EVENTS[EVENTS.kind == "archived"].level),
    8: _steps,
    9: _until_archived,
    10: _reworked,
    11: lambda: _most(EVENTS[EVENTS.kind == "handled"].drop_duplicates("case_id")["by"]),
    12: _unacknowledged,
    13: _conserved,
    14: _before_after,
    15: _busiest,
    16: _homes,
    17: _online,
    18: lambda: _most(SECONDS[SECONDS.status == "offline"].camera_id, 3),
    19: _episodes,
    20: _unobserved,
    21: _alerts_a_day,
    22: lambda: _counted(EVENTS[EVENTS.kind == "escalated"].level),
    23: _by_street,
    24: _week_to_week,
    25: _again,
}


@pytest.fixture(scope="module")
def reader(settings: Settings) -> Iterator[Client]:
    """An analyst of a warehouse that holds the journal."""
    with running_warehouse(settings):
        migrate_warehouse(settings)
        with closing(connect(settings, Role.WRITER)) as writer:
            JOURNAL.insert(writer)
        with closing(connect(settings, Role.READER)) as analyst:
            yield analyst


def test_there_are_25_questions_in_both_languages() -> None:
    """And an independent answer to each."""
    assert list(QUESTIONS) == list(ANSWERS) == list(range(1, 26))
    for title, _ in QUESTIONS.values():
        assert re.search("[\u4e00-\u9fff].* [A-Z].*\\?", title), title


@pytest.mark.parametrize("number", QUESTIONS)
def test_the_answer_is_the_one_computed_from_the_journal(reader: Client, number: int) -> None:
    """Row by row, in the order asked for; shares to nine digits, everything else exactly."""
    expected = ANSWERS[number]()

    found = reader.query(QUESTIONS[number][1]).result_rows

    assert expected, "an empty answer would prove nothing"
    assert len(found) == len(expected), (found, expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert [_cell(value) for value in ours] == [_cell(value) for value in theirs]


def _cell(value: Any) -> Any:
    return pytest.approx(float(value), rel=1e-9) if isinstance(value, float) else value


def test_the_notebook_runs_from_start_to_end_and_draws(
    reader: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells in order, against this warehouse: the journal's days in its table, something in each plot."""
    assert reader.ping()
    monkeypatch.setenv("GRIDWATCH_CLICKHOUSE_PORT", str(settings.clickhouse_port))
    matplotlib.use("Agg")
    notebook = json.loads((ROOT / "docs" / "analysts.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}

    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "analysts.ipynb", "exec"), names)  # noqa: S102 - our own file
            assert cell["outputs"] == [], "committed without outputs"

    assert list(names["daily"].cases) == [n for _, n in ANSWERS[2]()]
    assert len(names["hours"]) == (EVENTS.kind == "archived").sum()
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert len(figures) == 4
    for figure in figures:
        figure.canvas.draw()
        assert len(np.unique(np.asarray(figure.canvas.buffer_rgba()).reshape(-1, 4), axis=0)) > 10
    plt.close("all")
    names["client"].close()
