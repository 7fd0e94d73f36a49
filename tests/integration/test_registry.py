"""`gridwatch registry`, as a person runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import EXIT_SETUP
from schemas.registry import load_registry
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


def test_a_point_tells_its_grid_and_who_is_there(directory: Path) -> None:
    """The pilot village's first camera stands in its first grid; a substitute shows in the place of who is away."""
    people = directory / "people.toml"
    text = people.read_text(encoding="utf-8")
    away = 'person = "pt-001001001"\nsince = 2026-01-01 00:00:00+08:00\nuntil = 2226-01-01 00:00:00+08:00\n'
    people.write_text(f'{text}\n[[absences]]\n{away}substitute = "ft-001001"\n', encoding="utf-8")

    found = json.loads(run(directory, "where", "109.052053", "34.543939", "--json").stdout)

    assert (found["grid"], found["village"]) == ("610117001001001", "东张市村")
    assert (found["part_time"], found["police"]) == ("ft-001001", "po-001001")


def test_a_point_outside_has_no_grid(directory: Path) -> None:
    """Exit code 1, for scripts; the equator is no usage error."""
    assert run(directory, "where", "-0.5", "0").returncode == 1


PEOPLE = "工号,姓名,岗位,网格编码\npt-new,演示新人,兼职网格员,610117001001001\n"


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A list of people as an office saves it from Excel."""
    file = tmp_path / "名册.csv"
    file.write_bytes(PEOPLE.encode("gb18030"))
    return file


def test_an_import_is_shown_then_done_then_has_nothing_to_do(directory: Path, people: Path) -> None:
    """`--dry-run` tells and writes nothing; the second time everything is unchanged."""
    before = (directory / "people.toml").read_bytes()

    tried = run(directory, "import", "people", str(people), "--dry-run")
    assert (tried.returncode, (directory / "people.toml").read_bytes()) == (0, before)
    assert tried.stderr == "1 added, 0 replaced, 0 unchanged, 0 refused: nothing to write\n"

    done = run(directory, "import", "people", str(people), "--json")
    assert json.loads(done.stdout)["written"] == ["people.toml"]
    assert "pt-new" in load_registry(directory).people

    again = run(directory, "import", "people", str(people))
    assert again.stderr == "0 added, 0 replaced, 1 unchanged, 0 refused: nothing to write\n"


def test_one_refused_line_keeps_the_whole_file_out(directory: Path, people: Path) -> None:
    """Exit code 1, every refused line on stdout, and the district as it was."""
    people.write_bytes((PEOPLE + "x,演示,国王,610117001001001\ny,演示,民警,610117001001001\n").encode())
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    ended = run(directory, "import", "people", str(people), "--json")

    answer = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert [fault["at"] for fault in answer["refused"]] == ["line 3", "line 4 y"]
    assert answer["written"] == []
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("file", ["nowhere.csv", "."])
def test_a_file_that_cannot_be_read_is_named(directory: Path, file: str) -> None:
    """One line, and the exit code of what only a person can mend."""
    ended = run(directory, "import", "cameras", file)

    assert ended.returncode == EXIT_SETUP
    assert ended.stderr.startswith(f"gridwatch: {file}: ")


FLIP = """
import sys
from pathlib import Path
from msgspec.structs import replace
from infra.registry import saving
from schemas.district_files import load_district
directory = Path(sys.argv[1])
one = load_district(directory)
other = replace(one, people=one.people[::-1])
print("flipping", flush=True)
while True:
    saving.save(directory, one, other)
    saving.save(directory, other, one)
"""


def test_a_reader_never_sees_half_a_file_and_a_kill_leaves_a_whole_one(directory: Path) -> None:
    """While one process writes over and over, each read is the old roster or the new one; so it is after kill -9."""
    order = [*load_registry(directory).people]
    child = subprocess.Popen([sys.executable, "-c", FLIP, str(directory)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "flipping\n"
        seen = {tuple(load_registry(directory).people) for _ in range(60)}
    finally:
        child.kill()
        child.communicate()

    assert seen <= {tuple(order), tuple(order[::-1])}
    assert [*load_registry(directory).people] in (order, order[::-1])
