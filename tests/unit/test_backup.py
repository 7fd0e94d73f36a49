"""What a backup's directory promises, and where offsets go when compacted records close up."""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.backup.filling import place_by_key, place_by_offset
from infra.backup.manifest import FORMAT, Manifest, PartitionCopy, TableCopy, draft, load
from infra.backup.tables import check_known, known_tables
from schemas.errors import SetupError


def a_backup(target: Path, content: bytes = b"records") -> None:
    with draft(target) as written:
        with written.new("topics/t/0.parquet") as path:
            path.write_bytes(content)
        written.seal(
            Manifest(format=FORMAT, taken_at="", topics=[], groups={}, tables=[], migrations={}, files=written.files)
        )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every file is listed with its size and hash; nobody else may read the directory."""
    a_backup(tmp_path / "b")

    [kept] = load(tmp_path / "b").files
    assert (kept.path, kept.bytes) == ("topics/t/0.parquet", 7)
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a backup nor what would look like one."""
    with pytest.raises(ZeroDivisionError), draft(tmp_path / "b") as written, written.new("f") as path:
        path.write_bytes(bytes(1 // 0))

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_backup_left_is_cleared_away(tmp_path: Path) -> None:
    """Its directory is taken over; its files are not."""
    (tmp_path / "b.part" / "topics").mkdir(parents=True)
    (tmp_path / "b.part" / "old").write_text("x")

    a_backup(tmp_path / "b")

    assert sorted(path.name for path in (tmp_path / "b").rglob("*")) == ["0.parquet", "manifest.json", "t", "topics"]


def test_two_backups_do_not_share_a_place(tmp_path: Path) -> None:
    """The second is refused while the first writes, and after it is done."""
    (tmp_path / "b.part").mkdir()
    lock = os.open(tmp_path / "b.part", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(SetupError, match="another backup"):
        a_backup(tmp_path / "b")
    os.close(lock)
    a_backup(tmp_path / "b")

    with pytest.raises(SetupError, match="there already"):
        a_backup(tmp_path / "b")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda b: (b / "topics/t/0.parquet").write_bytes(b"recordx"), "damaged"),
        (lambda b: (b / "topics/t/0.parquet").unlink(), "missing"),
        (lambda b: (b / "manifest.json").unlink(), "no backup"),
        (lambda b: (b / "manifest.json").write_text("{"), "cannot be read"),
        (lambda b: in_manifest(b, '"format": 1', '"format": 2'), "format 2"),
        (lambda b: in_manifest(b, "topics/t/0.parquet", "../../etc/passwd"), "outside"),
    ],
)
def test_a_damaged_backup_is_refused(tmp_path: Path, damage: Any, says: str) -> None:
    """Before anything is touched, with what is wrong with it."""
    a_backup(tmp_path / "b")
    damage(tmp_path / "b")

    with pytest.raises(SetupError, match=says):
        load(tmp_path / "b")


def in_manifest(backup: Path, old: str, new: str) -> None:
    text = (backup / "manifest.json").read_text()
    assert old in text
    (backup / "manifest.json").write_text(text.replace(old, new))


class Log:
    """A partition: what is put gets the next offset."""

    def __init__(self) -> None:
        self.rows: list[int | None] = []

    @property
    def next(self) -> int:
        return len(self.rows)

    def put(self, row: Any) -> None:
        self.rows.append(row["offset"])

    def skip_to(self, offset: int) -> None:
        self.rows += [None] * (offset - len(self.rows))


offsets = st.lists(st.integers(0, 60), unique=True).map(sorted)


@given(kept=offsets, places=offsets)
def test_an_offset_of_a_compacted_topic_stays_before_the_record_it_was_before(
    kept: list[int], places: list[int]
) -> None:
    """Who had read up to it has read as many records as then."""
    log = Log()

    moved = place_by_key(log, ({"offset": offset} for offset in kept), places)

    assert log.rows == kept
    assert moved == {place: sum(offset < place for offset in kept) for place in places}


@given(kept=offsets, beyond=st.integers(0, 5))
def test_a_record_gets_its_own_offset_back(kept: list[int], beyond: int) -> None:
    """Whatever Kafka no longer had before, between or after."""
    log, end = Log(), max(kept, default=-1) + 1 + beyond
    copy = PartitionCopy(number=0, start=min(kept, default=end), end=end, records=len(kept))

    place_by_offset(log, ({"offset": offset} for offset in kept), copy)

    assert {at: row for at, row in enumerate(log.rows) if row is not None} == {offset: offset for offset in kept}
    assert log.next == end


def test_a_table_that_no_migration_makes_is_refused_before_anything_is_deleted() -> None:
    """Those of one server and of a cluster are known."""
    known = [TableCopy(name=name, columns=[], rows=0) for name in ("reports", "cases_local", "r_watch_hours")]
    check_known(known, {})
    with pytest.raises(SetupError, match="handmade, r_case_hours_next"):
        check_known([TableCopy(name=name, columns=[], rows=0) for name in ("handmade", "r_case_hours_next")], {})
    assert "schema_migrations" not in known_tables()
