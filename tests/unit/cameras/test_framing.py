"""What an RTSP connection brings is cut into packets and messages, and never kept without bound."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.domain.framing import MAX_BODY_BYTES, MAX_HEADER_BYTES, Framing
from schemas.errors import UnavailableError

PACKETS = st.tuples(st.integers(0, 255), st.binary(max_size=300))
BODIES = st.tuples(st.none(), st.binary(max_size=300))


def as_sent(channel: int | None, content: bytes) -> bytes:
    """Return a piece as it goes over the wire."""
    if channel is None:
        return b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    return bytes([0x24, channel]) + len(content).to_bytes(2) + content


@given(pieces=st.lists(PACKETS | BODIES, max_size=8), cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_pieces_come_out_as_sent_wherever_reads_end(pieces: list[tuple[int | None, bytes]], cuts: list[int]) -> None:
    """Packets and messages, mixed and split anywhere, come out whole and in order."""
    wire = b"".join(as_sent(*piece) for piece in pieces)
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    framing = Framing()

    found = [piece for a, b in pairwise(edges) for piece in framing.feed(wire[a:b])]

    assert found == [(c, as_sent(c, content) if c is None else content) for c, content in pieces]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_raise_anything_but_our_error(reads: list[bytes]) -> None:
    """Whatever a camera sends is pieces, a wait for more, or `UnavailableError`."""
    framing = Framing()
    for read in reads:
        try:
            list(framing.feed(read))
        except UnavailableError:
            return


@pytest.mark.parametrize(
    "sent",
    [
        b"RTSP/1.0 200 OK\r\nX: " + b"a" * MAX_HEADER_BYTES,
        b"RTSP/1.0 200 OK\r\n" + b"X: a\r\n" * (MAX_HEADER_BYTES // 6),
        b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x00\x01",
    ],
)
def test_what_has_no_end_or_no_beginning_is_refused(sent: bytes) -> None:
    """Headers, bodies and their lengths are bounded; bytes that begin nothing are no reason to wait."""
    with pytest.raises(UnavailableError):
        list(Framing().feed(sent))


def test_an_empty_line_between_messages_is_allowed() -> None:
    """Some cameras send one; it is handed on and means nothing."""
    message = as_sent(None, b"v=0")

    assert list(Framing().feed(b"\r\n" + message)) == [(None, b"\r\n"), (None, message)]
