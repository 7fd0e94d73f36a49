"""ClickHouse's own compression (`compress=1`, `decompress=1`): the JDBC driver's default, and Go's.

    checksum 16 bytes | method 1 | size with this head 4 | plain size 4 | compressed bytes
                      └────────────────── what the checksum covers ──────────────────────┘

The checksum is CityHash128 of version 1.0.2, its high half first; numbers are little-endian
(src/Compression/CompressedReadBufferBase.cpp).
"""

import struct
from collections.abc import Iterator
from typing import Final

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from infra.local.warehouse.faults import BAD_ARGUMENTS, CHECKSUM_MISMATCH, UNKNOWN_COMPRESSION, QueryError

_NONE: Final = 0x02
_LZ4: Final = 0x82
_ZSTD: Final = 0x90
_CHECKSUM: Final = struct.Struct("<QQ")
_HEAD: Final = struct.Struct("<BII")
_FRAME_BYTES: Final = 1 << 20
_MAX_FRAME_BYTES: Final = 32 << 20  # plain or packed; clients send 1 MiB, Go's at most 10


class FrameEncoder:
    """Compresses an answer, LZ4 in frames of at most 1 MiB."""

    kind = None  # no Content-Encoding: the frames are the body

    def add(self, part: bytes) -> bytes:
        """Return the frames of *part*."""
        return b"".join(_framed(part[at : at + _FRAME_BYTES]) for at in range(0, len(part), _FRAME_BYTES))

    def end(self) -> bytes:
        """Return nothing: a body may end after any frame."""
        return b""


def _framed(plain: bytes) -> bytes:
    packed = lz4.block.compress(plain, store_size=False)
    frame: bytes = _HEAD.pack(_LZ4, len(packed) + _HEAD.size, len(plain)) + packed
    return _checksum(frame) + frame


def _checksum(frame: bytes) -> bytes:
    both = CityHash128(frame)
    return _CHECKSUM.pack(both >> 64, both & 0xFFFF_FFFF_FFFF_FFFF)


class FrameDecoder:
    """Decompresses a request body of frames (none, LZ4 or ZSTD) as it comes.

    Raises:
        QueryError: a frame is damaged, too large, packed in another way, or cut off.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()

    def add(self, part: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of every frame that *part* completes."""
        self._waiting += part
        start = _CHECKSUM.size
        while len(self._waiting) >= start + _HEAD.size:
            method, size, plain_size = _HEAD.unpack_from(self._waiting, start)
            if not _HEAD.size <= size <= _MAX_FRAME_BYTES or plain_size > _MAX_FRAME_BYTES:
                raise QueryError(BAD_ARGUMENTS, "A compressed block has an impossible size. (BAD_ARGUMENTS)")
            if len(self._waiting) < start + size:
                return
            checksum, frame = bytes(self._waiting[:start]), bytes(self._waiting[start : start + size])
            del self._waiting[: start + size]
            if checksum != _checksum(frame):
                raise QueryError(CHECKSUM_MISMATCH, "Checksum doesn't match: corrupted data. (CHECKSUM_DOESNT_MATCH)")
            yield _plain(method, frame[_HEAD.size :], plain_size)

    def end(self) -> None:
        """Check that the body did not end inside a frame."""
        if self._waiting:
            raise QueryError(BAD_ARGUMENTS, "The body ends inside a compressed block. (BAD_ARGUMENTS)")


def _plain(method: int, packed: bytes, size: int) -> bytes:
    try:
        if method == _LZ4:
            plain = lz4.block.decompress(packed, uncompressed_size=size)
        elif method == _ZSTD:
            # A size that the frame states itself is believed over ours.
            if zstandard.frame_content_size(packed) > size:
                raise QueryError(BAD_ARGUMENTS, "A compressed block has another size than it says. (BAD_ARGUMENTS)")
            plain = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        elif method == _NONE:
            plain = packed
        else:
            raise QueryError(UNKNOWN_COMPRESSION, f"Unknown method {method:#x}. (UNKNOWN_COMPRESSION_METHOD)")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise QueryError(BAD_ARGUMENTS, f"A block cannot be decompressed: {error} (BAD_ARGUMENTS)") from error
    if len(plain) != size:
        raise QueryError(BAD_ARGUMENTS, "A compressed block has another size than it says. (BAD_ARGUMENTS)")
    return bytes(plain)
