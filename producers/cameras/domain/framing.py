"""Cuts what an RTSP connection brings into interleaved packets and text messages (RFC 2326, 10.12). Pure.

aiortsp's own parser is only given whole messages of text: fed the stream, it keeps a header
without end for ever, and once a packet is split over two reads it makes an object of every
packet after it.
"""

import re
from collections.abc import Iterator
from typing import Final

from schemas.errors import UnavailableError

MAX_HEADER_BYTES: Final = 16 << 10
MAX_BODY_BYTES: Final = 64 << 10  # an SDP of a camera has about one kilobyte
_DOLLAR: Final = 0x24
_BEGINS_TEXT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r")
_LENGTH: Final = re.compile(rb"^content-length[ \t]*:[ \t]*([0-9]{1,6})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_NAMES_LENGTH: Final = re.compile(rb"^content-length\b", re.IGNORECASE | re.MULTILINE)

Piece = tuple[int | None, bytes]  # channel and packet, or None and a whole message


class Framing:
    """The bytes of one connection that do not make a whole piece yet."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take what was read and yield the pieces it completes; they must be taken before the next call.

        Raises:
            UnavailableError: neither a packet nor a message can begin so, or it is too long.
        """
        data, at = self._rest + data, 0
        while end := _end(data, at):
            yield (data[at + 1], data[at + 4 : end]) if data[at] == _DOLLAR else (None, data[at:end])
            at = end
        self._rest = data[at:]


def _end(data: bytes, at: int) -> int:
    """Return where the piece that begins at *at* ends, or 0 when it is not all there."""
    if at >= len(data):
        return 0
    if data[at] == _DOLLAR:
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4])
        return end if at + 4 <= len(data) and end <= len(data) else 0
    if data[at] not in _BEGINS_TEXT:
        raise UnavailableError("camera", "sends what is neither RTSP nor RTP")
    return _text_end(data, at)


def _text_end(data: bytes, at: int) -> int:
    if data.startswith(b"\r\n", at):
        return at + 2  # an empty line between messages is allowed
    head = data.find(b"\r\n\r\n", at, at + MAX_HEADER_BYTES)
    if head < 0:
        if len(data) - at >= MAX_HEADER_BYTES:
            raise UnavailableError("camera", "sends a header without end")
        return 0
    end = head + 4 + _body_bytes(data[at:head])
    return end if end <= len(data) else 0


def _body_bytes(header: bytes) -> int:
    lengths = _LENGTH.findall(header)
    if len(lengths) != len(_NAMES_LENGTH.findall(header)) or len(lengths) > 1:
        raise UnavailableError("camera", "sends a length that is no number")
    size = int(lengths[0]) if lengths else 0
    if size > MAX_BODY_BYTES:
        raise UnavailableError("camera", f"sends a message of {size} bytes")
    return size
