"""Reading migration files: what a statement is, what a directory may hold."""

from pathlib import Path

import pytest

from infra.migrate import MIGRATIONS, load, split
from schemas.errors import SetupError


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT `a;b`, \";\"", ["SELECT ';'", 'SELECT `a;b`, ";"']),
        (r"SELECT 'it\'s; one'; SELECT 'it''s; two'", [r"SELECT 'it\'s; one'", "SELECT 'it''s; two'"]),
        ("-- a; comment\nSELECT 1 /* ; */ + 1;", ["SELECT 1  + 1"]),
        ("SELECT 3 - 2 / 1", ["SELECT 3 - 2 / 1"]),
        (" ;; \n", []),
    ],
)
def test_statements_are_cut_at_semicolons_that_stand_outside(text: str, statements: list[str]) -> None:
    """A semicolon in a string, a quoted name or a comment ends nothing."""
    assert split(text) == statements


def test_two_files_may_not_share_a_number(tmp_path: Path) -> None:
    """Two people adding migration 7 find out before a database does."""
    for name in ("0007_one.sql", "0007_two.sql"):
        (tmp_path / name).write_text("SELECT 1")

    with pytest.raises(SetupError, match="same number"):
        load(tmp_path)


def test_a_file_is_named_by_number_and_words(tmp_path: Path) -> None:
    """A file that would never run is an error, not a surprise."""
    (tmp_path / "fix.sql").write_text("SELECT 1")

    with pytest.raises(SetupError, match=r"fix\.sql"):
        load(tmp_path)


def test_the_shipped_migrations_are_numbered_from_one_without_gaps() -> None:
    """A gap means that somebody's file was lost."""
    assert [migration.number for migration in load(MIGRATIONS)] == list(range(1, len(load(MIGRATIONS)) + 1))
