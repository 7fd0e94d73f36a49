"""What the command says when something is wrong: one line that names it, and an exit code that says what to do."""

import os
import subprocess
import sys

import pytest

from infra.local.ports import free_port
from schemas.errors import EXIT_CRASH, EXIT_SETUP


def said(*arguments: str, **settings: str) -> tuple[int, str]:
    """Run `gridwatch` with *settings*; return its exit code and the one line on stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    [line] = ended.stderr.splitlines()
    return ended.returncode, line


@pytest.mark.parametrize("command", ["doctor", "worker"])
def test_a_wrong_setting_is_named(command: str) -> None:
    """By the variable that a person has to change."""
    code, line = said(command, GRIDWATCH_PARTITIONS="0")

    assert code == EXIT_SETUP
    assert line == "gridwatch: GRIDWATCH_PARTITIONS: Input should be greater than or equal to 1"


def test_who_does_not_answer_is_named_with_its_address() -> None:
    """To try again may help: another code than for what only a person can mend."""
    port = str(free_port())
    code, line = said("report", "610117001001001", "04001", "x", GRIDWATCH_INTAKE_PORT=port)

    assert code == EXIT_CRASH
    assert f"is it running at http://127.0.0.1:{port}?" in line


def test_a_topic_is_not_waited_for_where_there_is_no_broker() -> None:
    """`tail` follows for ever, but not a broker that is not there."""
    address = f"127.0.0.1:{free_port()}"
    code, line = said("tail", "cases", GRIDWATCH_KAFKA=address)

    assert code == EXIT_CRASH
    assert f"is it running at {address}?" in line


def test_a_line_is_not_broken_and_its_brackets_are_not_markup() -> None:
    """Scripts read it too; an error may quote anything."""
    name = "x" * 100 + "[/red]"
    code, line = said("tail", name)

    assert code == EXIT_SETUP
    assert line == f"gridwatch: {name}: is no topic of ours; gridwatch topics list shows them"
