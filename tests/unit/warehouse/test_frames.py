"""ClickHouse's own compression: frames with a checksum, as the JDBC driver and Go's client send them."""

import struct

import lz4.block
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given
from hypothesis import strategies as st

from infra.local.warehouse.faults import BAD_ARGUMENTS, CHECKSUM_MISMATCH, UNKNOWN_COMPRESSION, QueryError
from infra.local.warehouse.frames import FrameDecoder, FrameEncoder

PACK = {0x02: bytes, 0x82: lambda plain: lz4.block.compress(plain, store_size=False), 0x90: zstandard.compress}


def a_frame(plain: bytes, method: int = 0x82, *, says: int | None = None) -> bytes:
    packed = PACK.get(method, bytes)(plain)
    frame = struct.pack("<BII", method, len(packed) + 9, len(plain) if says is None else says) + packed
    both = CityHash128(frame)
    return struct.pack("<QQ", both >> 64, both % 2**64) + frame


def read(body: bytes, piece: int = 10**9) -> bytes:
    decoder = FrameDecoder()
    plain = [p for at in range(0, len(body), piece) for p in decoder.add(body[at : at + piece])]
    decoder.end()
    return b"".join(plain)


@pytest.mark.parametrize("method", list(PACK))
@given(plain=st.binary(max_size=3000), piece=st.integers(1, 400))
def test_frames_are_read_in_any_pieces(method: int, plain: bytes, piece: int) -> None:
    """Whatever the network cuts, what went in comes out."""
    assert read(a_frame(plain, method) + a_frame(b"next", method), piece) == plain + b"next"


def test_an_answer_is_frames_of_at_most_a_mebibyte() -> None:
    """Clients allocate what a frame says."""
    plain = bytes(range(256)) * 10_000
    body = FrameEncoder().add(plain)

    _, _, _, first = struct.unpack_from("<16sBII", body)
    assert first == 1 << 20
    assert read(body) == plain


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (a_frame(b"abc")[:-1] + b"x", CHECKSUM_MISMATCH),
        (a_frame(b"abc")[:-1], BAD_ARGUMENTS),
        (a_frame(b"abc", says=4), BAD_ARGUMENTS),
        (a_frame(b"abc", says=2), BAD_ARGUMENTS),
        (a_frame(b"abc", says=2**31), BAD_ARGUMENTS),
        (a_frame(bytes(9_000_000), 0x90, says=1), BAD_ARGUMENTS),
        (a_frame(b"abc", 0x91), UNKNOWN_COMPRESSION),
        (b"\0" * 25, BAD_ARGUMENTS),
        (b"\xff" * 25, BAD_ARGUMENTS),
    ],
)
def test_a_damaged_body_is_the_clients_error(body: bytes, code: int) -> None:
    """Cut off, altered, of an impossible size or an unknown method: refused before anything is allocated for it."""
    with pytest.raises(QueryError) as caught:
        read(body)

    assert caught.value.code == code
