"""What recovery makes of a changelog, among it what a worker wrote that should not have."""

from types import SimpleNamespace

from pipelines.stream import state
from pipelines.stream.program import Change
from pipelines.stream.state import Restored


def restored(*chunks: tuple[list[Change], dict[str, int]]) -> Restored:
    found = Restored()
    for changes, positions in chunks:
        written = state.records("changelog", changes, positions)
        found.take([SimpleNamespace(key=output.key, value=output.value) for output in written])
    return found


def test_what_was_written_is_read_back() -> None:
    """The last value of each key, without those deleted; positions beside them."""
    found = restored(
        ([Change(b"a", b"1", 1), Change(b"b", b"1", 1)], {"reports": 2}),
        ([Change(b"a", b"2", 2), Change(b"b", None)], {"reports": 3}),
    )

    assert found.positions == {"reports": 3}
    assert found.content() == {b"a": b"2"}


def test_a_value_from_the_past_changes_nothing() -> None:
    """A frozen worker wakes up and writes what its successor has long gone beyond; each input's position stays too."""
    found = restored(
        ([Change(b"a", b"new", 7)], {"reports": 9, "commands": 4}),
        ([Change(b"a", b"old", 5)], {"reports": 5, "commands": 6}),
    )

    assert found.content() == {b"a": b"new"}
    assert found.positions == {"reports": 9, "commands": 6}


def test_the_same_version_again_is_taken() -> None:
    """A chunk repeated after a crash writes its keys again; programs that count no versions keep the last."""
    assert restored(([Change(b"a", b"1")], {}), ([Change(b"a", b"2")], {})).content() == {b"a": b"2"}


def test_versions_compare_as_numbers() -> None:
    """256 is more than 255, though its last byte is less."""
    assert restored(([Change(b"a", b"new", 256)], {}), ([Change(b"a", b"old", 255)], {})).content() == {b"a": b"new"}
