"""The figures of a month, computed in pandas from the journal and the limits alone.

An independent second opinion on `v_kpi`: it reads neither ledger nor cases, and shares no code with the engine
or the views. Deadlines are found on one time axis of working seconds per zone; what starts and ends a clock is
told from the acts of people.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from itertools import groupby
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from schemas.calendar import Calendar
from schemas.cases import Closure, Move, Satisfaction
from schemas.policy import Policy, RungAct, TimeBase
from tests.months import Entry, Month

ZONE: Final = "Asia/Shanghai"
_LEVELS: Final = ("village", "street", "district", "department")
_STAGE: Final = {
    "accept": "Accept",
    "dispatch": "Dispatch",
    "acknowledge": "Acknowledge",
    "arrive": "Arrive",
    "dispose": "Dispose",
    "verify": "Check",
}
_STEPS: Final = (
    "seen_to_case",
    "case_to_dispatch",
    "dispatch_to_acknowledge",
    "acknowledge_to_arrive",
    "arrive_to_settled",
    "acknowledge_to_settled",
    "seen_to_settled",
)
# By which act the work of a clock is done; whatever else ends it takes it back.
_DONE: Final = {
    "accept": {Move.ACCEPT, Move.DISPATCH},
    "dispatch": {Move.DISPATCH},
    "acknowledge": {Move.ACKNOWLEDGE},
    "arrive": {Move.ARRIVE, Move.HANDLE},
    "dispose": {Move.HANDLE},
    "verify": {Move.VERIFY, Move.REWORK},
}
# First times: what an act is the first of.
_MARKED: Final = {
    Move.ACCEPT: ("accept",),
    Move.DISPATCH: ("accept", "dispatch"),
    Move.HANDLE: ("dispose",),
    Move.VERIFY: ("check",),
    Move.REWORK: ("check",),
}
_TIMED: Final = {Move.DISPATCH: "dispatch", Move.ACKNOWLEDGE: "acknowledge", Move.ARRIVE: "arrive"}
# The clock that each act starts; an urgent case has to be reached first.
_STARTS: Final = {
    Move.ACKNOWLEDGE: "dispose",
    Move.ACCEPT: "dispatch",
    Move.DISPATCH: "acknowledge",
    Move.RETURN: "dispatch",
    Move.ARRIVE: "dispose",
    Move.HANDLE: "verify",
    Move.REWORK: "dispose",
    Move.REOPEN: "dispatch",
}
_ENDS: Final = {Move.VERIFY, Move.CLOSE, Move.VOID}


class Axis:
    """Seconds that count, of working time or of all time."""

    def __init__(self, calendar: Calendar, since: datetime, until: datetime) -> None:
        """Lay out the office hours of every working day around [since, until)."""
        zone = ZoneInfo(calendar.zone)
        days = {day.date: day for day in calendar.days}
        spans = []
        for day in pd.date_range(since.date() - timedelta(days=2), until.date() + timedelta(days=90)):
            known = days.get(day.date())
            works = known.works if known else day.isoweekday() in calendar.weekdays
            if works:
                hours = (known.hours if known else None) or calendar.hours
                spans += [[_second(day, start, zone), _second(day, end, zone)] for start, end in hours]
        self._starts, self._ends = np.array(spans, dtype=float).T
        self._before = np.concatenate([[0.0], np.cumsum(self._ends - self._starts)])

    def counted(self, at: float) -> float:
        """Return the working seconds from the first office hour to *at*."""
        index = int(np.searchsorted(self._starts, at, side="right"))
        if index == 0:
            return 0.0
        return float(self._before[index - 1] + min(at, self._ends[index - 1]) - self._starts[index - 1])

    def at(self, counted: float) -> float:
        """Return when so many working seconds have been counted; at a gap, before it."""
        index = int(np.searchsorted(self._before, counted, side="left")) - 1
        return float(self._starts[index] + counted - self._before[index])


def _second(day: pd.Timestamp, of_day: time, zone: ZoneInfo) -> float:
    return datetime.combine(day.date(), of_day, zone).timestamp()


class _Natural:
    def counted(self, at: float) -> float:
        return at

    def at(self, counted: float) -> float:
        return counted


class _Clock:
    """One running clock: what it has counted, which steps of the ladder it has taken."""

    def __init__(self, story: "_Story", name: str, at: float, worker: str | None) -> None:
        policy, item = story.policy, story.policy.items[story.item]
        sla = next(found for found in policy.file.classes if found.name == item.sla)
        self.name, self.started, self.worker = name, at, worker
        self.axis = _Natural() if item.time_base is TimeBase.NATURAL else story.axis
        self.budget = sla.budgets_ms[name] / 1000  # type: ignore[index]
        above = [r for r in policy.file.ladder.rungs if _LEVELS.index(r.level) > _LEVELS.index(story.level)]
        # A notice comes in its turn, and leaves the case where it is.
        self.rungs = [str(rung.level) if rung.act is RungAct.TRANSFER else None for rung in above]
        self.waits = [0.0, *np.cumsum([rung.budget_ms / 1000 for rung in above[:-1]])]
        self.paused_at: float | None = None
        self.shift = 0.0  # of pauses and extensions, as far as they count
        self.pauses, self.steps = 0, 0
        self.breached_at: float | None = None

    @property
    def due(self) -> float | None:
        if self.breached_at is not None:
            return None if self.paused_at is not None else self.breached_at
        return None if self.paused_at is not None else self._step_at(0)

    def _step_at(self, step: int) -> float:
        return self.axis.at(self.axis.counted(self.started) + self.budget + self.shift + self.waits[step])

    def run_to(self, at: float) -> Iterator[tuple[float, str | None]]:
        """Yield each step that is due by *at*: when, and which level it climbs to."""
        while self.paused_at is None and self.steps < max(len(self.rungs), 1) and self._step_at(self.steps) <= at:
            found = self._step_at(self.steps)
            if self.steps == 0:
                self.breached_at = found
            yield found, self.rungs[self.steps] if self.rungs else None
            self.steps += 1

    def pause(self, at: float) -> None:
        self.paused_at, self.pauses = at, self.pauses + 1

    def resume(self, at: float) -> None:
        assert self.paused_at is not None
        self.shift += self.axis.counted(at) - self.axis.counted(self.paused_at)
        self.paused_at = None


class _Story:
    """What one case's entries say, told from the first to the last."""

    def __init__(self, entries: list[Entry], policy: Policy, axis: Axis, staffed: set[str]) -> None:
        first = entries[0]
        self.policy, self.axis, self.item, self.grid = policy, axis, first.item_code, first.grid_id
        self.number, self.urgent, self.level, self.round = first.number, first.urgent, "village", 1
        self.facts: list[tuple[str, float, str | None]] = []
        self.turns: list[dict[str, Any]] = []
        self.departments: list[str] = []
        self.clock: _Clock | None = None
        self.holder: str | None = None
        self.marks: dict[str, tuple[float, str | None]] = {}  # first time of each step, and who took it
        self.sent: list[float] = []
        self.end: tuple[float, Entry | None] | None = None
        self.handler: str | None = None
        self.counts: Counter[Move] = Counter()
        self.times: dict[str, float] = {"seen": _at(first.seen_at), "case": _at(first.at)}  # until settled
        self._open(first, staffed)
        for entry in entries[1:]:
            self._take(entry)

    def _open(self, first: Entry, staffed: set[str]) -> None:
        at, item = _at(first.at), self.policy.items[self.item]
        self.marks["report"] = (at, first.by)
        if first.settled:
            self.marks["accept"] = self.marks["dispose"] = (at, first.by)
            self.handler, self.holder = first.by, first.by
            self.times["settled"] = at
            self._start("verify", at, None)
        elif self.grid in staffed:
            # Whoever serves the grid in part time goes first; a major issue that they report is for the village's
            # full-time worker.
            is_major = first.by is not None and str(item.severity) == "major"
            self.holder = f"ft-{self.grid[6:12]}" if is_major else f"pt-{self.grid[6:15]}"
            self.marks["accept"] = self.marks["dispatch"] = (at, None)
            self.times["dispatch"] = at
            self._start("acknowledge", at, self.holder)
        else:
            self._start("accept", at, None)

    def _start(self, name: str, at: float, worker: str | None) -> None:
        self.clock = _Clock(self, name, at, worker)

    def _run_to(self, at: float) -> None:
        if self.clock is None:
            return
        for when, level in self.clock.run_to(at):
            if self.clock.steps == 0:
                self.facts.append(("breach", when, self.holder))
            if level is not None:
                self.level = level
                self.facts.append(("escalate", when, self.holder))

    def _stop(self, at: float | None, move: Move | None, by: str | None) -> None:
        clock, self.clock = self.clock, None
        assert clock is not None
        is_done = move in _DONE[clock.name]
        doer = by if is_done else None
        self.turns.append(
            {
                "clock": clock.name,
                "due": clock.due,
                "late": clock.breached_at is not None,
                "outcome": "running" if at is None else "done" if is_done else "withdrawn",
                "worker": doer if clock.name in ("accept", "dispatch", "verify") else clock.worker,
                "ended": at,
                "move": move,
                "round": self.round,
                "pauses": clock.pauses,
            }
        )

    def _take(self, entry: Entry) -> None:
        at, move, by = _at(entry.at), entry.move, entry.by
        assert move is not None
        self._run_to(at)
        self.counts[move] += 1
        if move is Move.PAUSE and self.clock:
            self.clock.pause(at)
        elif move is Move.RESUME and self.clock:
            self.clock.resume(at)
        elif move is Move.EXTEND and self.clock:
            self.clock.shift += entry.extend.total_seconds()
            self.facts.append(("extend", at, self.holder))
        elif move is Move.FEEDBACK:
            self.facts.append(("returnVisit", at, self.holder))
            if entry.satisfaction is Satisfaction.SATISFIED:
                self.facts.append(("satisfied", at, self.holder))
        elif move is Move.COMPLETE:
            pass
        elif move is Move.ASSIGN:
            self._assign(entry, at)
        else:
            self._move(entry, move, at, by)

    def _assign(self, entry: Entry, at: float) -> None:
        assert entry.assignee is not None
        self.departments.append(entry.assignee)
        if self._tasks == 0:
            self._stop(at, Move.ASSIGN, entry.by)
            self.level = max(self.level, "district", key=_LEVELS.index)
            self._start("dispose", at, entry.by)
        self._tasks += 1

    _tasks = 0  # of this round

    def _move(self, entry: Entry, move: Move, at: float, by: str | None) -> None:
        if move is not Move.REOPEN:
            self._stop(at, move, by)
        for step in _MARKED.get(move, ()):
            self.marks.setdefault(step, (at, by))
        if move in _TIMED:
            self.times.setdefault(_TIMED[move], at)
        effect = {
            Move.DISPATCH: self._sent_to,
            Move.RETURN: self._returned,
            Move.ACKNOWLEDGE: self._taken,
            Move.HANDLE: self._handled,
            Move.REWORK: self._sent_back,
            Move.REOPEN: self._reopened,
        }.get(move)
        if effect is not None:
            effect(entry, at)
        if move in _ENDS:
            self.end = (at, entry)
        else:
            urgent = self.urgent and move is Move.ACKNOWLEDGE
            self._start("arrive" if urgent else _STARTS[move], at, self.holder)

    _returns = _reworks = 0  # of this round

    def _sent_to(self, entry: Entry, at: float) -> None:
        self.sent.append(at)
        self.holder = entry.assignee

    def _returned(self, entry: Entry, at: float) -> None:
        self.sent.append(at)
        self.facts.append(("back", at, entry.by))
        self.holder, self._returns = None, self._returns + 1
        if self._returns >= self.policy.file.limits.returns:
            self.facts.append(("supervise", at, None))

    def _taken(self, entry: Entry, _at: float) -> None:
        self.holder = entry.by

    def _handled(self, entry: Entry, at: float) -> None:
        self.handler, self.times["settled"] = entry.by, at

    def _sent_back(self, _entry: Entry, at: float) -> None:
        self.facts.append(("rework", at, self.holder))
        self._reworks += 1
        if self._reworks >= self.policy.file.limits.reworks:
            self.facts.append(("supervise", at, self.holder))

    def _reopened(self, entry: Entry, at: float) -> None:
        self.facts.append(("reopen", at, entry.by))
        self.round, self.end, self.holder = self.round + 1, None, None
        self._tasks = self._returns = self._reworks = 0

    def finish(self, until: float) -> None:
        """Let the clocks run to the month's end, and count."""
        self._run_to(until)
        if self.clock is not None:
            self._stop(None, None, None)
        self._count_case()
        for turn in self.turns:
            self._count_turn(turn)
        self._count_closing()

    def _count_case(self) -> None:
        opened, reporter = self.marks["report"]
        end = self.end[1] if self.end else None
        is_void = end is not None and end.move is Move.VOID
        closure = None if end is None or is_void else (end.closure or Closure.FIXED)
        self.facts.append(("report", opened, reporter))
        if not is_void and closure not in (Closure.DUPLICATE, Closure.NOT_RESPONSIBLE, Closure.CANCELLED):
            self.facts.append(("validReport", opened, reporter))
        for counter in ("accept", "dispatch", "dispose", "check"):
            if counter in self.marks:
                self.facts.append((counter, *self.marks[counter]))
        if "accept" in self.marks and not is_void:
            self.facts.append(("register", *self.marks["accept"]))
            if not any(turn["clock"] == "accept" and turn["late"] for turn in self.turns):
                self.facts.append(("inTimeRegister", *self.marks["accept"]))
        if self.end is not None and end is not None:
            self.facts.append(("cancel" if is_void else "archive", self.end[0], end.by))
        if closure is Closure.FIXED:
            where = "settledLocally" if self.level in ("village", "street") else "settledByDistrict"
            self.facts += [("settled", opened, self.handler), (where, opened, self.handler)]
        self.status = "void" if is_void else "open" if end is None else "archived"

    def _count_turn(self, turn: dict[str, Any]) -> None:
        stage, due, late, outcome = _STAGE[turn["clock"]], turn["due"], turn["late"], turn["outcome"]
        if due is None or (outcome == "withdrawn" and not late):
            return
        self.facts.append((f"need{stage}", due, turn["worker"]))
        kind = ("overtime" if late else "inTime") if outcome == "done" else ("overtimeTo" if late else None)
        if kind is not None:
            self.facts.append((f"{kind}{stage}", due, turn["worker"]))
        if stage == "Dispatch" and outcome == "done" and turn["ended"] == self.sent[-1]:
            self.facts.append(("accurateDispatch", due, turn["worker"]))

    def _count_closing(self) -> None:
        last, mine = self.turns[-1], [turn for turn in self.turns if turn["round"] == self.round]
        if last["due"] is None or self.status == "void":
            return
        late, closed = any(turn["late"] for turn in mine), self.status == "archived"
        counters = ["needArchive"]
        counters += ["overtimeArchive" if late else "inTimeArchive"] if closed else ["overtimeToArchive"] * late
        if any(turn["pauses"] for turn in mine):
            counters += ["postponed"] + ["postponedArchive"] * closed
        if self.urgent:
            counters += ["needUrgentArchive"] + ["urgentArchive"] * closed
        self.facts += [(counter, last["due"], last["worker"]) for counter in counters]


def _at(at: datetime | None) -> float:
    assert at is not None
    return at.timestamp()


class Figures:
    """The month's figures as frames."""

    def __init__(self, month: Month, policy: Policy, staffed: set[str]) -> None:
        """Read the journal; grids in *staffed* have a worker to send to."""
        assert policy.calendar is not None
        since = min(entry.at for entry in month.journal)
        axis = Axis(policy.calendar, since, month.until)
        by_case: dict[int, list[Entry]] = defaultdict(list)
        for number, entries in groupby(sorted(month.journal, key=lambda e: (e.number, e.at)), lambda e: e.number):
            by_case[number] = list(entries)
        stories = [_Story(entries, policy, axis, staffed) for entries in by_case.values()]
        for story in stories:
            story.finish(month.until.timestamp())
        self.facts = _facts(stories)
        self._cases = pd.DataFrame(
            [{"grid": story.grid, "status": story.status, **story.times} for story in stories], dtype="object"
        )

    def counters(self) -> pd.DataFrame:
        """Return a row for each dimension, key, period and period_start, a column for each counter."""
        frames = []
        for dimension, keys in _DIMENSIONS.items():
            keyed = self.facts.assign(key=keys(self.facts)).explode("key").dropna(subset=["key"])
            for period, first in _PERIODS.items():
                by = [keyed["key"], first(keyed["day"]).rename("period_start"), keyed["counter"]]
                table = keyed.groupby(by).size().unstack(fill_value=0).reset_index()
                frames.append(table.assign(dimension=dimension, period=period))
        index = ["dimension", "key", "period", "period_start"]
        return pd.concat(frames).set_index(index).fillna(0).astype(int).sort_index()

    def response_times(self) -> pd.DataFrame:
        """Return cases, p50_ms and p90_ms of each step, by grid, of cases that are not void."""
        valid = self._cases[self._cases["status"] != "void"]
        rows = []
        for step in _STEPS:
            since, until = step.split("_to_")
            took = valid.assign(ms=(valid[until].astype(float) - valid[since].astype(float)) * 1000).dropna(subset="ms")
            by_grid = took.groupby("grid")["ms"]
            found = pd.DataFrame(
                {"cases": by_grid.size(), "p50_ms": by_grid.quantile(0.5), "p90_ms": by_grid.quantile(0.9)}
            )
            rows.append(found.assign(step=step).reset_index())
        return pd.concat(rows).set_index(["grid", "step"]).sort_index()


def shares(counters: pd.DataFrame) -> pd.DataFrame:
    """Return the published shares of *counters*; of nothing, NaN."""
    c = counters.astype(float)
    need = {stage: c[f"need{stage}"] for stage in [*_STAGE.values(), "Archive", "UrgentArchive"]}
    done = {stage: c[f"inTime{stage}"] + c[f"overtime{stage}"] for stage in ("Dispose", "Archive")}
    found = {
        "settled_ratio": (c["settled"], c["report"]),
        "valid_report_ratio": (c["validReport"], c["report"]),
        "register_ratio": (c["register"], c["accept"]),
        "in_time_register_ratio": (c["inTimeRegister"], c["register"]),
        "dispatch_ratio": (c["dispatch"], c["register"]),
        "in_time_accept_ratio": (c["inTimeAccept"], need["Accept"]),
        "in_time_dispatch_ratio": (c["inTimeDispatch"], need["Dispatch"]),
        "accurate_dispatch_ratio": (c["accurateDispatch"], need["Dispatch"]),
        "in_time_acknowledge_ratio": (c["inTimeAcknowledge"], need["Acknowledge"]),
        "in_time_arrive_ratio": (c["inTimeArrive"], need["Arrive"]),
        "dispose_ratio": (done["Dispose"], need["Dispose"]),
        "in_time_dispose_ratio": (c["inTimeDispose"], need["Dispose"]),
        "overtime_to_dispose_ratio": (c["overtimeToDispose"], need["Dispose"]),
        "in_time_check_ratio": (c["inTimeCheck"], need["Check"]),
        "archive_ratio": (done["Archive"], need["Archive"]),
        "in_time_archive_ratio": (c["inTimeArchive"], need["Archive"]),
        "archive_without_postponed_ratio": (done["Archive"] - c["postponedArchive"], need["Archive"] - c["postponed"]),
        "urgent_archive_ratio": (c["urgentArchive"], need["UrgentArchive"]),
        "rework_ratio": (c["rework"], need["Archive"]),
        "extend_ratio": (c["extend"], need["Archive"]),
        "extend_of_dispose_ratio": (c["extend"], need["Dispose"]),
        "satisfied_ratio": (c["satisfied"], c["returnVisit"]),
    }
    return pd.DataFrame({name: part / whole.where(whole > 0) for name, (part, whole) in found.items()})


def _facts(stories: list[_Story]) -> pd.DataFrame:
    facts = pd.DataFrame(
        [
            (s.grid, s.item, sorted(set(s.departments)), worker, at, name)
            for s in stories
            for name, at, worker in s.facts
        ],
        columns=["grid", "item", "departments", "worker", "at", "counter"],
    )
    local = pd.to_datetime(facts["at"], unit="s", utc=True).dt.tz_convert(ZONE)
    return facts.assign(day=local.dt.tz_localize(None).dt.normalize())


_DIMENSIONS: Final[dict[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "grid": lambda facts: facts["grid"],
    "village": lambda facts: facts["grid"].str[:12],
    "street": lambda facts: facts["grid"].str[:9],
    "district": lambda facts: facts["grid"].str[:6],
    "item": lambda facts: facts["item"],
    "worker": lambda facts: facts["worker"],
    "department": lambda facts: facts["departments"],
}
_PERIODS: Final[dict[str, Callable[[pd.Series], pd.Series]]] = {
    "day": lambda day: day,
    "week": lambda day: day - pd.to_timedelta(day.dt.day_of_week, unit="D"),
    "month": lambda day: day.dt.to_period("M").dt.start_time,
    "all": lambda day: day.mask(day.notna(), pd.Timestamp("1970-01-01")),
}
