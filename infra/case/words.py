"""An explanation as text, in Chinese and English. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from unicodedata import east_asian_width
from zoneinfo import ZoneInfo

from pipelines.domain.explain import Explanation, Interval, Run

_Words = dict[str, str]
_EN: Final[_Words] = {
    "case": "Case",
    "item": "Item",
    "policy": "Policy",
    "started": "started",
    "by_line": "ledger line {n}",
    "budget": "budget",
    "extended": "of which granted",
    "warn": "warning at {share:.0%}",
    "due": "due",
    "unknown": "not while paused",
    "stopped": "stopped",
    "counts": "counted",
    "not": "not counted",
    "total": "total",
    "sum": "budget used up",
    "over": "after the deadline",
    "provisional": "provisional: that year is not announced",
    "disagrees": "The ledger has another deadline: {at}",
    "h": "h",
    "m": "min",
    "s": "s",
    "gap": " ",
    "stop": ", ",
}
_ZH: Final[_Words] = {
    "case": "案件",
    "item": "事项",
    "policy": "政策版本",
    "started": "起算",
    "by_line": "台账第 {n} 条",
    "budget": "时限",
    "extended": "其中延期",
    "warn": "{share:.0%} 预警",
    "due": "截止",
    "unknown": "暂停中,未定",
    "stopped": "停止",
    "counts": "计时",
    "not": "不计",
    "total": "累计",
    "sum": "时限用完",
    "over": "超期之后",
    "provisional": "暂定:该年调休尚未公布",
    "disagrees": "台账所记截止时间不同:{at}",
    "h": "小时",
    "m": "分",
    "s": "秒",
    "gap": "",
    "stop": ",",
}
_CODES: Final[dict[str, tuple[str, str]]] = {
    "accept": ("受理", "Accept"),
    "dispatch": ("派遣", "Dispatch"),
    "acknowledge": ("签收", "Acknowledge"),
    "arrive": ("到场", "Arrive"),
    "dispose": ("处置", "Dispose"),
    "verify": ("核查", "Verify"),
    "time.natural": ("自然时间,昼夜不停", "natural time, day and night"),
    "time.working": ("工作时间", "working time"),
    "natural": ("自然时间", "natural time"),
    "office_hours": ("工作时间", "office hours"),
    "make_up": ("调休上班", "make-up workday"),
    "lunch": ("午休", "lunch break"),
    "off_hours": ("非工作时间", "outside office hours"),
    "weekend": ("双休日", "weekend"),
    "holiday": ("节假日", "public holiday"),
    "paused": ("暂停", "paused"),
    "state.running": ("进行中", "running"),
    "state.paused": ("暂停中", "paused"),
    "state.met": ("按时", "in time"),
    "state.breached": ("超期", "breached"),
    "warned": ("预警", "warned"),
    "breached": ("超期", "breached"),
    "escalated": ("升级", "escalated"),
    "notified": ("督办通知", "supervision notice"),
    "reminded": ("重复告知", "told again"),
    "village": ("村", "village"),
    "street": ("街道", "street"),
    "district": ("区", "district"),
    "department": ("职能部门", "department"),
}
_WEEKDAYS: Final = ("一二三四五六日", ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
LANGUAGES: Final = ("zh", "en")


def text(found: Explanation, lang: str) -> str:
    """Return *found* as lines for a person who reads *lang*, `zh` or `en`; times in the district's zone."""
    return "\n".join(_Writer(found, lang).lines()) + "\n"


class _Writer:
    def __init__(self, found: Explanation, lang: str) -> None:
        self._found, self._index = found, LANGUAGES.index(lang)
        self._words = (_ZH, _EN)[self._index]
        self._zone = ZoneInfo(found.zone)

    def lines(self) -> Iterator[str]:
        found, words = self._found, self._words
        yield f"{words['case']} {found.case_id}"
        yield f"{words['item']} {found.item_code} {(found.item, found.item_en)[self._index]}"
        yield f"{words['policy']} {found.policy}"
        for run in found.runs:
            yield ""
            yield from self._run(run)

    def _run(self, run: Run) -> Iterator[str]:
        words = self._words
        yield f"{self._code(run.clock)}: {self._code(f'state.{run.state}')} ({self._code(f'time.{run.time_base}')})"
        granted = f"{words['stop']}{words['extended']} {self._span(run.extended_ms)}" if run.extended_ms else ""
        warn = words["warn"].format(share=run.warn_share)
        yield f"  {words['started']} {self._at(run.started_at)} ({words['by_line'].format(n=run.armed)})"
        yield f"  {words['budget']} {self._span(run.budget_ms)}{granted}{words['stop']}{warn}"
        yield f"  {words['due']} {words['unknown'] if run.due_at is None else self._at(run.due_at)}"
        if run.due_at is not None and run.recorded_due_at not in (None, run.due_at):
            yield f"  ! {words['disagrees'].format(at=self._at(run.recorded_due_at or run.due_at))}"
        if run.stopped_at is not None:
            yield f"  {words['stopped']} {self._at(run.stopped_at)}"
        yield from self._table([self._interval(run, interval) for interval in run.intervals])
        for step in run.steps:
            repeat = f" {step.repeat}" if step.repeat else ""
            yield f"  {self._at(step.at)}  {self._code(step.kind)}{repeat}  {self._code(step.level)}"

    def _interval(self, run: Run, interval: Interval) -> tuple[str, ...]:
        words = self._words
        name = (interval.day, interval.day_en)[self._index]
        why = self._code(interval.reason) + (f" ({name})" if name else "")
        notes = [words["provisional"]] if interval.is_provisional else []
        if run.due_at is not None and interval.since >= run.due_at:
            notes.append(words["over"])
        elif interval.until == run.due_at:
            notes.append(words["sum"])
        return (
            f"{self._at(interval.since)} – {self._at(interval.until)}",
            words["counts"] if interval.counted else words["not"],
            self._span((interval.until - interval.since).total_seconds() * 1000),
            f"{words['total']} {self._span(interval.total_ms)}",
            words["stop"].join([why, *notes]),
        )

    @staticmethod
    def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
            yield "    " + "  ".join(cells).rstrip()

    def _at(self, at: datetime) -> str:
        local = at.astimezone(self._zone)
        day = _WEEKDAYS[self._index][local.weekday()]
        seconds = f"{local:%H:%M:%S}" + (f".{local.microsecond // 1000:03}" if local.microsecond else "")
        return f"{local:%Y-%m-%d} {'周' if self._index == 0 else ''}{day} {seconds}"

    def _span(self, milliseconds: float) -> str:
        """Return a length of time, to the second, or the millisecond where there is one."""
        seconds, rest = divmod(round(milliseconds), 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        parts = [(hours, "h"), (minutes, "m")]
        shown = [f"{n}{self._words['gap']}{self._words[unit]}" for n, unit in parts if n]
        if seconds or rest or not shown:
            exact = f"{seconds}.{rest:03}" if rest else str(seconds)
            shown.append(f"{exact}{self._words['gap']}{self._words['s']}")
        return " ".join(shown)

    def _code(self, code: str) -> str:
        return _CODES[code][self._index]


def _width(cell: str) -> int:
    """Return how many columns of a terminal *cell* takes."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in cell)
