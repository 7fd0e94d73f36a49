"""Frames of a file that is only appended to: where it was torn can be told. Pure.

A frame is its payload's length and CRC-32 (little-endian, 4 bytes each), then the payload. The
checksum covers the length too, and no payload is empty: zeros are never a frame.
"""

import struct
from collections.abc import Iterator
from zlib import crc32

_HEAD = struct.Struct("<II")
MAX_PAYLOAD_BYTES = 16 << 20  # a longer one is a torn length, not a payload


def frame(payload: bytes) -> bytes:
    """Return *payload* as it is appended.

    Raises:
        ValueError: it is empty or longer than 16 MiB.
    """
    if not 0 < len(payload) <= MAX_PAYLOAD_BYTES:
        raise ValueError(len(payload))
    return _HEAD.pack(len(payload), _checksum(payload)) + payload


def framed_bytes(payload: bytes) -> int:
    """Return how long *payload* is as a frame."""
    return _HEAD.size + len(payload)


def whole_frames(content: bytes, start: int = 0) -> Iterator[bytes]:
    """Yield the payloads of *content* from *start* on, up to its end or to the first frame that is not whole."""
    at = start
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        payload = content[at + _HEAD.size : at + _HEAD.size + length]
        if not 0 < length <= MAX_PAYLOAD_BYTES or len(payload) < length or _checksum(payload) != checksum:
            return
        yield payload
        at += _HEAD.size + length


def _checksum(payload: bytes) -> int:
    return crc32(payload, crc32(len(payload).to_bytes(4, "little")))
