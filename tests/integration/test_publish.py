"""`gridwatch publish` on a real broker, and the workers that take what it put in force."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from infra.clock import utc_now
from infra.doctor import examine
from infra.kafka import Producer, read_to_end
from infra.reference import differs, in_force, publish
from infra.registry.saving import save
from infra.settings import Settings
from schemas import codec
from schemas.district_files import load_district
from schemas.errors import EXIT_SETUP, SetupError
from schemas.policy import load_policy, policy_hash
from schemas.topics import CASES, DEAD_LETTERS, REFERENCE
from tests.builders import DISTRICT, GRID, NINE, REGISTRY, a_case, a_report, seconds
from tests.conftest import environment, eventually, process
from tests.district import District


@pytest.fixture
def edited(broker: Settings, tmp_path: Path) -> Settings:
    """Settings whose district is a copy of the one in force."""
    publish(broker, utc_now())
    shutil.copytree(DISTRICT, tmp_path / "district")
    return broker.model_copy(update={"district_dir": tmp_path / "district"})


def edit(settings: Settings, file: str, old: str, new: str) -> None:
    path = settings.district_dir / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_in_force_already_is_not_written_again(edited: Settings) -> None:
    """The address is of the content: a second publication changes nothing, the first instant stays."""
    before = in_force(edited).edition

    again = publish(edited, NINE)

    assert (again.edition, again.written) == (before, [])
    assert differs(edited) is None


def test_a_change_is_in_force_at_once_and_the_way_back_writes_the_edition_alone(edited: Settings) -> None:
    """Contents that were there before are found under their address."""
    before = in_force(edited)
    edit(edited, "people.toml", 'substitute = "ft-001001"\n', "")

    assert differs(edited) == "the files' registry differ from the edition in force"
    changed = publish(edited, NINE)
    assert changed.written == [f"registry:{changed.edition.registry}", "edition"]
    assert in_force(edited).registry.absences[1].substitute is None
    assert changed.edition.policy == before.edition.policy

    edit(
        edited,
        "people.toml",
        "until = 2026-05-06 00:00:00+08:00\n",
        'until = 2026-05-06 00:00:00+08:00\nsubstitute = "ft-001001"\n',
    )
    back = publish(edited, NINE + seconds(1))
    assert back.written == ["edition"]
    assert back.edition.registry == before.edition.registry


def test_nobodys_name_is_on_the_topic(broker: Settings) -> None:
    """The roster travels by id; names stay in the district's files."""
    published = b"".join(message.value() or b"" for message in read_to_end(broker, REFERENCE)).decode()

    assert "pt-001001001" in published
    assert [person.name for person in REGISTRY.people.values() if (person.name or "?") in published] == []


def test_a_wrong_file_publishes_nothing(edited: Settings) -> None:
    """What was in force still is."""
    before = in_force(edited).edition
    edit(edited, "cameras.toml", "610117001001001", "610117001001999")

    with pytest.raises(SetupError, match=r"cameras\[0\] .* unknown grid"):
        publish(edited, NINE)

    assert in_force(edited).edition == before


def test_the_doctor_tells_files_that_are_not_in_force(edited: Settings) -> None:
    """Somebody edited, and forgot to publish."""

    def looked() -> tuple[bool, str]:
        (check,) = (check for check in examine(edited) if check.name == "edition")
        return check.ok, check.detail

    assert looked() == (True, "in force as the files say")
    edit(edited, "policy.toml", "repeats = 2", "repeats = 3")
    ok, detail = looked()
    assert not ok
    assert "policy differ" in detail


def test_a_worker_takes_the_latest_edition_and_not_its_own_files(edited: Settings) -> None:
    """Its files have a grid, an item and a person that were never published: the first is a dead letter."""
    log = edited.data_dir / "worker-edition.log"
    other = edited.model_copy(update={"district_dir": edited.data_dir / "nowhere"})
    edit(edited, "items.toml", 'code = "01002"', 'code = "01902"')
    publish(edited, utc_now())
    expected = policy_hash(load_policy(edited.district_dir))

    with process("pipelines", other, log=log), Producer(other, "test") as producer:
        district = District(other, producer)
        district.report(a_report("taken", item_code="01902"))
        district.report(a_report("refused", item_code="01002"))
        eventually(
            lambda: district.values(CASES) and len(list(read_to_end(other, DEAD_LETTERS))), within_s=40, what="both"
        )

    assert {case.policy for case in district.values(CASES)} == {expected}
    assert expected in log.read_text()
    publish(other.model_copy(update={"district_dir": DISTRICT}), utc_now())


@pytest.mark.parametrize(("grid", "may_go"), [(GRID, False), ("610117002002004", True)])
def test_a_grid_that_has_cases_cannot_go(edited: Settings, grid: str, may_go: bool) -> None:
    """No worker could start without it, so it is refused before it is in force; one without cases may go."""
    case = a_case()
    with Producer(edited, "test") as producer:
        producer.send(CASES, key=case.case_id, ce_id="case", at=NINE, value=case).result(10)
    before = load_district(edited.district_dir)
    without = replace(
        before,
        map=replace(before.map, grids=[g for g in before.map.grids if g.id != grid]),
        people=[p for p in before.people if p.area != grid],
        absences=[],
        cameras=[c for c in before.cameras if c.grid_id != grid],
    )
    save(edited.district_dir, before, without)

    if may_go:
        assert len(publish(edited, NINE).written) == 2
    else:
        with pytest.raises(SetupError, match=f"map.geojson: {grid}: a grid that has cases cannot go"):
            publish(edited, NINE)


def test_a_worker_without_an_edition_says_what_to_run(broker: Settings) -> None:
    """Exit code 78: to start again cannot help. The edition is taken back for it, and put there again."""
    found = codec.encode(in_force(broker).edition)
    with Producer(broker, "test") as producer:
        producer.send_raw(REFERENCE.name, key=b"edition", value=None, headers=[]).result(10)
        ended = subprocess.run(
            [sys.executable, "-m", "pipelines"],
            env=environment(broker),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        producer.send_raw(REFERENCE.name, key=b"edition", value=found, headers=[]).result(10)

    assert ended.returncode == EXIT_SETUP
    assert "gridwatch publish" in ended.stdout + ended.stderr


def test_the_command_says_what_it_wrote(edited: Settings) -> None:
    """Once the edition, then nothing."""

    def said() -> str:
        command = [sys.executable, "-m", "infra.cli", "publish"]
        return subprocess.run(
            command, env=environment(edited), capture_output=True, text=True, timeout=60, check=True
        ).stdout

    edit(edited, "policy.toml", "repeats = 2", "repeats = 4")
    assert "policy:" in (first := said())
    assert "edition" in first
    assert "nothing" in said()
