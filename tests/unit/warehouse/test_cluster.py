"""The cluster form of a schema: a golden file, and what has no form is refused."""

from pathlib import Path

import pytest

from infra.cluster import on_cluster
from infra.migrate import MIGRATIONS, load
from schemas.errors import SetupError

_GOLDEN = Path(__file__).with_name("on_cluster.sql")
_CHOSEN = ("case_events", "cases", "camera_telemetry", "r_camera_hours")


def _is_chosen(statement: str) -> bool:
    head = statement.partition("(")[0].strip()
    return head.endswith(tuple(f" {name}" for name in _CHOSEN)) or head.startswith("ALTER TABLE case_events")


def test_tables_become_replicated_and_distributed_and_the_rest_of_the_text_stays() -> None:
    """The golden file is what a DBA reviews: write it again on purpose only, with the text this test shows."""
    statements = [s for migration in load(MIGRATIONS) for s in migration.statements if _is_chosen(s)]

    found = "".join(f"{form};\n\n" for s in statements for form in on_cluster(s, "district"))

    assert found == _GOLDEN.read_text(encoding="utf-8")


def test_every_shipped_statement_has_a_cluster_form() -> None:
    """A migration that only runs on one server would be found out in production."""
    for migration in load(MIGRATIONS):
        for statement in migration.statements:
            assert all(" ON CLUSTER 'district'" in form for form in on_cluster(statement, "district"))


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE cases",
        "CREATE TABLE IF NOT EXISTS x (a Int8)\nENGINE = Memory\nCOMMENT 'x'",
        "ALTER TABLE cases ADD COLUMN a Int8, MODIFY COLUMN b CODEC(ZSTD(1))",
        "ALTER TABLE cases DELETE WHERE 1",
    ],
)
def test_an_unknown_form_is_refused(statement: str) -> None:
    """A statement half of which would be right is not guessed at."""
    with pytest.raises(SetupError):
        on_cluster(statement, "district")


def test_a_word_in_a_comment_changes_nothing() -> None:
    """Only what stands outside of strings tells what a statement changes."""
    statement = "ALTER TABLE cases COMMENT COLUMN a 'its CODEC, its TTL'"

    assert on_cluster(statement, "c") == [
        "ALTER TABLE cases_local ON CLUSTER 'c' COMMENT COLUMN a 'its CODEC, its TTL'",
        "ALTER TABLE cases ON CLUSTER 'c' COMMENT COLUMN a 'its CODEC, its TTL'",
    ]
