"""What a bench found: the one JSON object, the table and the plot in `docs/performance.md`."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from infra.clock import utc_now
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "performance.md"
_BAR, _LABEL, _ROW = 420, 150, 28  # px


class Report(Struct, kw_only=True):
    """One bench's outcome. Ratios are bigger-is-better; `goals` names what each should reach."""

    bench: str
    unit: str
    ours: float
    peers: dict[str, float]
    floor: dict[str, float]
    ratios: dict[str, float]
    goals: dict[str, float]
    exact: bool
    details: dict[str, Any] = {}

    @property
    def bars(self) -> dict[str, float]:
        """Return every figure by contender, ours first."""
        return {"GridWatch": self.ours, **self.peers, **self.floor}


def rounded(value: float) -> float:
    """Return *value* with three significant digits, integers from 1,000 on."""
    return float(round(value)) if value >= 1000 else float(f"{value:.3g}")


def note(text: str) -> None:
    """Tell whoever watches, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def write(report: Report, page_path: Path = PAGE) -> None:
    """Put the report's table between its marks on the page, its plot into the directory beside; the rest stays."""
    plots = page_path.with_suffix("")
    plots.mkdir(exist_ok=True)
    (plots / f"{report.bench}.svg").write_text(plot(report), encoding="utf-8")
    start, end = f"<!-- {report.bench}: start -->", f"<!-- {report.bench}: end -->"
    block = f"{start}\n{_section(report)}\n{end}"
    page = page_path.read_text(encoding="utf-8")
    # A function: the text may hold what `re` would take for a group.
    page = re.sub(f"{re.escape(start)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)
    page_path.write_text(page, encoding="utf-8")


def _section(report: Report) -> str:
    verdict = "every result equals the oracle's" if report.exact else "**NOT EXACT**"
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {platform.python_version()}"
    lines = [
        f"![{report.bench}, {report.unit}](performance/{report.bench}.svg)",
        "",
        f"| contender | {report.unit} |",
        "|---|---|",
        *(f"| {name} | {value:,.6g} |" for name, value in report.bars.items()),
        "",
        "| ratio | reached | goal |",
        "|---|---|---|",
        *(f"| `{name}` | {value:,.4g} | {_goal(report, name)} |" for name, value in report.ratios.items()),
        "",
        *(f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in report.details.items()),
        "",
        f"{utc_now():%Y-%m-%d}, {machine}; {verdict}.",
    ]
    return "\n".join(lines)


def _goal(report: Report, name: str) -> str:
    goal = report.goals.get(name)
    if goal is None:
        return ""
    return f"{goal:g}" if report.ratios[name] >= goal else f"{goal:g}, **missed**"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:,.6g}" if isinstance(value, int | float) else str(value)


def plot(report: Report) -> str:
    """Return an SVG of horizontal bars, one a contender; it reads on light and dark pages."""
    greatest = max(report.bars.values()) or 1.0
    rows = []
    for n, (name, value) in enumerate(report.bars.items()):
        y, width = 34 + n * _ROW, max(1.0, value / greatest * _BAR)
        colour = "#1f7a5c" if n == 0 else "#8a94a6"
        rows.append(
            f'<text x="{_LABEL - 8}" y="{y + 14}" text-anchor="end">{name}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{colour}"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 14}">{value:,.6g}</text>'
        )
    height = 44 + len(rows) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LABEL + _BAR + 100} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="#6b7280">\n'
        f'<text x="{_LABEL}" y="20">{report.bench}, {report.unit}</text>\n' + "\n".join(rows) + "\n</svg>\n"
    )
