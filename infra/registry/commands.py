"""`gridwatch registry …`: look at a district's data, and bring data in."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from infra.clock import utc_now
from infra.registry import audit as coverage
from infra.registry import imports, saving
from infra.registry.audit import Finding
from infra.registry.imports import Import
from infra.settings import Settings
from infra.show import Json, show
from schemas.district_files import load_district
from schemas.errors import SetupError
from schemas.grid import District, Role
from schemas.ground import Ground
from schemas.policy import load_policy
from schemas.registry import Registry, load_registry

app = cyclopts.App(name="registry", help="Grids, people, cameras of the district: audit them, import them.")
Take = Callable[[District, bytes, str], Import]
Dry = Annotated[bool, Parameter(name="--dry-run", negative="")]

_err = Console(stderr=True, highlight=False)


imports_app = cyclopts.App(name="import", help="Bring an office's file in: all of it, or nothing.")
app.command(imports_app)


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
    directory = Settings().district_dir
    registry, items = load_registry(directory), load_policy(directory).items.values()
    findings = coverage.audit(registry, (item.department for item in items), utc_now(), tolerance_m2)
    if json:
        show(msgspec.to_builtins(findings), as_json=True)
    elif findings:
        show([_row(finding) for finding in findings], as_json=False)
    totals = ", ".join(f"{n} {code}" for code, n in coverage.counts(findings).items()) or "no finding"
    _err.print(f"{len(registry.grids)} grids, {len(registry.cameras)} cameras, tolerance {tolerance_m2:g} m²: {totals}")
    sys.exit(1 if strict and findings else 0)


@app.command
def where(
    longitude: Annotated[float, Parameter(allow_leading_hyphen=True, validator=Number(gte=-180, lte=180))],
    latitude: Annotated[float, Parameter(allow_leading_hyphen=True, validator=Number(gte=-90, lte=90))],
    *,
    json: Json = False,
) -> None:
    """Tell which grid holds a point and who serves it now; exit 1 when none does.

    Args:
        longitude: in degrees, WGS-84.
        latitude: in degrees, WGS-84.
        json: print JSON.
    """
    registry = load_registry(Settings().district_dir)
    grid = Ground(registry.grids.values()).grid_at(longitude, latitude)
    if grid is None:
        _err.print("no grid holds this point")
        sys.exit(1)
    village = registry.places[grid.village_id]
    show(
        {"grid": grid.id, "name": grid.name, "village": village.name} | _on_duty(registry, grid.id, utc_now()),
        as_json=json,
    )


def _on_duty(registry: Registry, grid_id: str, at: datetime) -> dict[str, str]:
    """Return who acts in each role of a grid at *at*; a role that nobody acts in is left out."""
    acting = {role: [registry.on_duty(p.id, at) for p in registry.people_for(grid_id, role)] for role in Role}
    return {role.value: ", ".join(filter(None, people)) for role, people in acting.items() if any(people)}


def _row(finding: Finding) -> dict[str, Any]:
    """Return a finding for a person: what it has not is left empty."""
    return {
        "code": finding.code.value,
        "place": f"{finding.place} {finding.name}",
        "detail": finding.detail,
        "m²": "" if finding.area_m2 is None else f"{finding.area_m2:,.1f}",
        "at": "" if finding.at is None else "{:.6f},{:.6f}".format(*finding.at),
    }


@imports_app.command(name="grids")
def import_grids(file: Path, *, dry_run: Dry = False, json: Json = False) -> None:
    """Add or replace grids (and villages, streets) from GeoJSON in WGS-84.

    Args:
        file: a FeatureCollection; the code is a feature's id or its property 网格编码, the name its 名称.
        dry_run: only tell what would change.
        json: print one object.
    """
    _import(imports.grids, file, dry_run=dry_run, json=json)


@imports_app.command(name="people")
def import_people(file: Path, *, dry_run: Dry = False, json: Json = False) -> None:
    """Add or replace people from CSV, in UTF-8 or GB18030.

    Args:
        file: columns id/编号, name/姓名, role/角色, area/负责区域 and, for departments, department/部门.
        dry_run: only tell what would change.
        json: print one object.
    """
    _import(imports.people, file, dry_run=dry_run, json=json)


@imports_app.command(name="cameras")
def import_cameras(file: Path, *, dry_run: Dry = False, json: Json = False) -> None:
    """Add or replace cameras from CSV, in UTF-8 or GB18030.

    Args:
        file: columns id/编号, grid_id/网格编码, name/名称, url/地址 without credentials, longitude/经度, latitude/纬度.
        dry_run: only tell what would change.
        json: print one object.
    """
    _import(imports.cameras, file, dry_run=dry_run, json=json)


def _import(take: Take, file: Path, *, dry_run: bool, json: bool) -> None:
    """Take *file*, or say of every line that cannot be taken why and exit 1."""
    directory = Settings().district_dir
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SetupError(str(file), error.strerror or "cannot be read") from error
    with saving.alone(directory):
        before = load_district(directory)
        result = take(before, content, file.name)
        written = [] if dry_run or result.faults else saving.save(directory, before, result.district)
    summary = {"added": result.added, "replaced": result.replaced, "unchanged": result.unchanged}
    if json:
        refused = msgspec.to_builtins(result.faults)
        show(summary | {"refused": refused, "written": written}, as_json=True)
    elif result.faults:
        show([msgspec.to_builtins(fault) for fault in result.faults], as_json=False)
    _err.print(
        ", ".join(f"{n} {what}" for what, n in summary.items())
        + f", {len(result.faults)} refused: {_did(result, written)}"
    )
    sys.exit(1 if result.faults else 0)


def _did(result: Import, written: list[str]) -> str:
    if result.faults:
        return "nothing was written"
    return f"{', '.join(written)} written" if written else "nothing to write"
