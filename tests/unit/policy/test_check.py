"""`policy check`: every fault with its line and field."""

from pathlib import Path

import pytest

from infra.policy.check import candidate, check
from infra.policy.lines import line_of, lines_of
from schemas.errors import SetupError
from schemas.policy import policy_hash
from tests.builders import DISTRICT, POLICY_ID

TEXT = (DISTRICT / "policy.toml").read_text(encoding="utf-8")


def a_file(directory: Path, old: str, new: str) -> tuple[Path, int]:
    """Return the shipped policy with its first *old* replaced, and the line where that is."""
    assert old in TEXT
    path = directory / "policy.toml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    return path, TEXT[: TEXT.index(old)].count("\n") + 1


def test_the_shipped_policy_has_no_fault() -> None:
    """It is what the district runs."""
    assert check(DISTRICT / "policy.toml", DISTRICT) == []
    assert policy_hash(candidate(DISTRICT / "policy.toml", DISTRICT)) == POLICY_ID


@pytest.mark.parametrize(
    ("old", "new", "field", "reason"),
    [
        ("warn_share = 0.75", "warn_share = 1.5", "classes[0].warn_share", "< 1"),
        ("acknowledge = 14000", "acknowledge = 0", "classes[1].budgets_ms.acknowledge", ">= 1"),
        ("acknowledge = 8000, ", "", "classes[2].budgets_ms", "lacks a budget for acknowledge"),
        ("acknowledge = 8000", "acknowlege = 8000", "classes[2].budgets_ms", "acknowlege"),
        ('name = "important"', 'name = "routine"', "classes[1].name", "already"),
        ("repeats = 2", "repeats = 99", "ladder.repeats", "<= 20"),
        ("repeats = 2", "", "ladder", "repeats"),
        ('level = "district"', 'level = "street"', "ladder.rungs[1].level", "does not lie above"),
        ('level = "district"', 'level = "moon"', "ladder.rungs[1].level", "moon"),
        ('kind = "offline"', 'kind = "asleep"', "camera_rules[1].kind", "asleep"),
        ('item_code = "08008"', 'item_code = "77777"', "camera_rules[1].item_code", "unknown item 77777"),
        ("camera_silent_after_ms = 15000", "camera_silent = 15000", "camera_silent", "no field"),
        ('name = "major"', 'name = "grave"', "classes", "unknown SLA class 'major'"),
        ("[ladder]", "[ladder", "TOML", ""),
    ],
)
def test_a_fault_has_its_line_and_field(tmp_path: Path, old: str, new: str, field: str, reason: str) -> None:
    """The line where the fault is, or where what holds it begins."""
    path, line = a_file(tmp_path, old, new)
    found = [fault for fault in check(path, DISTRICT) if fault.field == field and reason in fault.reason]

    assert found
    near = line_of(field, lines_of(TEXT)) if field != "TOML" else line
    assert found[0].at in (f"line {line}", f"line {near}")
    with pytest.raises(SetupError, match=r"policy\.toml line \d+"):
        candidate(path, DISTRICT)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """Of several classes and rules, each has its own."""
    path, _ = a_file(tmp_path, "", "")
    path.write_text(TEXT.replace("warn_share = 0.75", "warn_share = 2").replace("min_score = 0", "min_score = 7"))

    assert [fault.field for fault in check(path, DISTRICT)] == [
        *(f"classes[{n}].warn_share" for n in range(3)),
        *(f"camera_rules[{n}].min_score" for n in range(2)),
    ]


def test_lines_are_counted_through_every_shape() -> None:
    """Tables, elements, dotted and quoted keys, arrays over several lines."""
    table = '[t]\n"q" = [\n  { x = 1 },\n  # note\n  { x = 2, y.z = 3 },\n]\n'
    text = f"a.b = 1\n{table}[[e]]\nk = 1\n[[e]]\nk = 2\n"
    found = lines_of(text)

    assert found["a.b"] == 1
    assert (found["t"], found["t.q"], found["t.q[0].x"], found["t.q[1].y.z"]) == (2, 3, 4, 6)
    assert (found["e[0].k"], found["e[1]"], found["e[1].k"]) == (9, 10, 11)
    assert line_of("e[1].missing.deep", found) == 10
