"""`gridwatch registry`, as a person runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import DISTRICT


def run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `gridwatch registry` on the district in *directory*."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "registry", *arguments],
        env=os.environ | {"GRIDWATCH_DISTRICT_DIR": str(directory), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the demo district."""
    shutil.copytree(DISTRICT, tmp_path / "district")
    return tmp_path / "district"


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--strict",), 1), (("--tolerance-m2", "-1"), 2)])
def test_the_audit_fails_a_build_only_when_asked(directory: Path, arguments: tuple[str, ...], code: int) -> None:
    """The demo district has findings: twenty grids without cameras."""
    ended = run(directory, "audit", *arguments)

    assert ended.returncode == code


def test_the_audit_gives_scripts_code_and_place(directory: Path) -> None:
    """One object a finding; a summary that states the tolerance goes to stderr."""
    ended = run(directory, "audit", "--json")

    found = json.loads(ended.stdout)
    assert {finding["code"] for finding in found} == {"few_cameras"}
    assert "610117001002001" in {finding["place"] for finding in found}
    assert ended.stderr == "28 grids, 32 cameras, tolerance 1 m²: 20 few_cameras\n"
