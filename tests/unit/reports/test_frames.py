"""Frames: a torn file is told from a whole one, wherever it was torn."""

from hypothesis import given
from hypothesis import strategies as st

from producers.reports.domain.frames import frame, framed_bytes, whole_frames

PAYLOADS = st.lists(st.binary(min_size=1, max_size=50), max_size=8)


@given(PAYLOADS, st.data())
def test_a_cut_anywhere_leaves_the_frames_before_it(payloads: list[bytes], data: st.DataObject) -> None:
    """Every frame that is whole is read, and nothing of the one that is not."""
    content = b"".join(map(frame, payloads))
    cut = data.draw(st.integers(0, len(content)))

    found = list(whole_frames(content[:cut]))

    assert found == payloads[: len(found)]
    left = cut - sum(map(framed_bytes, found))
    assert len(found) == len(payloads) or left < framed_bytes(payloads[len(found)])


@given(PAYLOADS.filter(bool), st.data())
def test_a_flipped_bit_ends_the_reading(payloads: list[bytes], data: st.DataObject) -> None:
    """What was changed is never returned, in length or payload alike."""
    content = bytearray(b"".join(map(frame, payloads)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))

    found = list(whole_frames(bytes(content)))

    assert found == payloads[: len(found)]
    assert len(found) < len(payloads)


def test_zeros_are_no_frame() -> None:
    """A file system may leave zeros where a write never came."""
    assert list(whole_frames(frame(b"a") + bytes(4096))) == [b"a"]
