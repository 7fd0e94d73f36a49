"""RTP packets of H.264 become access units (RFC 3550, RFC 6184): single NAL, STAP-A, FU-A. Pure.

Only key frames are put together: P frames count, nobody decodes them. A unit with a lost
packet is marked and must not be decoded. A key frame is one with an IDR slice: parameter sets
alone, or an aggregate of other things, are none.
"""

from collections.abc import Iterator
from struct import Struct as Layout

from msgspec import Struct

_HEADER = Layout("!BBHII")
_START = b"\x00\x00\x00\x01"
_SPS, _IDR, _STAP_A, _FU_A = 7, 5, 24, 28
_MAX_UNIT = 4 << 20  # a camera that never ends a frame does not fill the memory
_MAX_DROPOUT, _MAX_MISORDER = 3000, 100  # RFC 3550, A.1: beyond these a sequence has begun anew


class AccessUnit(Struct, frozen=True):
    """One picture. `data` (Annex B) is there for whole key frames alone."""

    is_key: bool
    size: int
    data: bytes | None


class Depacketizer:
    """Puts one stream's packets together."""

    def __init__(self) -> None:
        """Begin before the first packet."""
        self.lost = 0
        self.bad = 0
        self._expected: int | None = None
        self._source: int | None = None
        self._reset()

    def _reset(self) -> None:
        self._data = bytearray()  # not a list: a million packets of one byte must not cost sixty each
        self._size, self._is_key, self._is_torn = 0, False, False

    def push(self, packet: bytes) -> AccessUnit | None:
        """Take one RTP packet; return the unit it completes.

        A packet that is not RTP is counted in `bad` and changes nothing.
        """
        payload = _payload(packet)
        if not payload:
            self.bad += 1
            return None
        _, marked, sequence, _, source = _HEADER.unpack_from(packet)
        if source != self._source:  # the camera's encoder has started again
            self._source, self._expected = source, None
            self._reset()
        if not self._is_next(sequence):
            return None
        self._expected = (sequence + 1) & 0xFFFF
        self._add(payload)
        if not marked & 0x80:
            return None
        is_whole = self._is_key and not self._is_torn
        unit = AccessUnit(self._is_key, self._size, bytes(self._data) if is_whole else None)
        self._reset()
        return unit

    def _is_next(self, sequence: int) -> bool:
        """Count what is missing before *sequence*; tell whether its place has not been passed yet."""
        gap = 0 if self._expected is None else (sequence - self._expected) & 0xFFFF
        if gap >= 0x10000 - _MAX_MISORDER:
            return False
        if gap < _MAX_DROPOUT:  # how many a greater jump has cost nobody knows
            self.lost += gap
        self._is_torn |= gap > 0
        return True

    def _add(self, payload: bytes) -> None:
        self._size += len(payload)
        for kind, piece in _pieces(payload):
            self._is_key |= kind == _IDR
            if self._data or kind in (_SPS, _IDR):
                self._data += piece
        if self._size > _MAX_UNIT:
            self._is_torn, self._data = True, bytearray()


def _payload(packet: bytes) -> bytes:
    """Return the payload of an RTP packet, or nothing when it is none (wrong version, lengths that lie)."""
    if len(packet) < _HEADER.size or packet[0] >> 6 != 2:
        return b""
    start = _HEADER.size + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        if len(packet) < start + 4:
            return b""
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
    end = len(packet) - (packet[-1] if packet[0] & 0x20 else 0)
    return packet[start:end] if start < end else b""


def _pieces(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kinds of NAL unit in a payload, each with what it adds to an Annex B stream."""
    kind = payload[0] & 31
    if kind == _FU_A and len(payload) > 1:
        kind = payload[1] & 31
        begins = payload[1] & 0x80
        yield kind, (_START + bytes([payload[0] & 0xE0 | kind]) if begins else b"") + payload[2:]
    elif kind == _STAP_A:
        at = 1
        while at + 2 < len(payload):
            size = int.from_bytes(payload[at : at + 2])
            yield payload[at + 2] & 31, _START + payload[at + 2 : at + 2 + size]
            at += 2 + size
    else:
        yield kind, _START + payload
