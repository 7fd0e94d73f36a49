"""`gridwatch registry …`: look at a district's data, and bring data in."""

import sys
from typing import Annotated, Any

import cyclopts
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from infra.clock import utc_now
from infra.registry import audit as coverage
from infra.registry.audit import Finding
from infra.settings import Settings
from infra.show import show
from schemas.grid import load_registry

app = cyclopts.App(name="registry", help="Grids, people, cameras of the district: audit them, import them.")
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON, for scripts")]

_err = Console(stderr=True, highlight=False)


@app.command
def audit(
    *,
    strict: Annotated[bool, Parameter(negative="")] = False,
    tolerance_m2: Annotated[float, Parameter(validator=Number(gte=0))] = 1.0,
    json: Json = False,
) -> None:
    """Check that the district is covered without gap or overlap, with its workers and cameras.

    Args:
        strict: exit 1 when there is any finding.
        tolerance_m2: gaps and overlaps up to this many square metres are no findings.
        json: print one object a finding.
    """
    registry = load_registry(Settings().district_dir)
    findings = coverage.audit(registry, utc_now(), tolerance_m2)
    if json:
        show(msgspec.to_builtins(findings), as_json=True)
    elif findings:
        show([_row(finding) for finding in findings], as_json=False)
    totals = ", ".join(f"{n} {code}" for code, n in coverage.counts(findings).items()) or "no finding"
    _err.print(f"{len(registry.grids)} grids, {len(registry.cameras)} cameras, tolerance {tolerance_m2:g} m²: {totals}")
    sys.exit(1 if strict and findings else 0)


def _row(finding: Finding) -> dict[str, Any]:
    """Return a finding for a person: what it has not is left empty."""
    return {
        "code": finding.code.value,
        "place": f"{finding.place} {finding.name}",
        "detail": finding.detail,
        "m²": "" if finding.area_m2 is None else f"{finding.area_m2:,.1f}",
        "at": "" if finding.at is None else "{:.6f},{:.6f}".format(*finding.at),
    }
