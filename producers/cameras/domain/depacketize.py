"""RTP packets of H.264 become access units (RFC 3550, RFC 6184): single NAL, STAP-A, FU-A. Pure.

Only key frames are put together: P frames count, nobody decodes them. A unit with a lost
packet is marked and must not be decoded.
"""

from collections.abc import Iterator
from struct import Struct as Layout

from msgspec import Struct

_HEADER = Layout("!BBHII")
_START = b"\x00\x00\x00\x01"
_SPS, _IDR, _STAP_A, _FU_A = 7, 5, 24, 28
_MAX_UNIT = 4 << 20  # a camera that never ends a frame does not fill the memory


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
        self._reset()

    def _reset(self) -> None:
        self._parts: list[bytes] = []
        self._size, self._is_key, self._is_torn = 0, False, False

    def push(self, packet: bytes) -> AccessUnit | None:
        """Take one RTP packet; return the unit it completes.

        A packet that is not RTP is counted in `bad` and changes nothing.
        """
        payload = _payload(packet)
        if not payload:
            self.bad += 1
            return None
        _, marked, sequence, _, _ = _HEADER.unpack_from(packet)
        if self._expected is not None and sequence != self._expected:
            gap = (sequence - self._expected) & 0xFFFF
            if gap >= 0x8000:
                return None  # late or repeated: its place has been passed
            self.lost += gap
            self._is_torn = True
        self._expected = (sequence + 1) & 0xFFFF
        self._add(payload)
        if not marked & 0x80:
            return None
        is_whole = self._is_key and not self._is_torn
        unit = AccessUnit(self._is_key, self._size, b"".join(self._parts) if is_whole else None)
        self._reset()
        return unit

    def _add(self, payload: bytes) -> None:
        self._size += len(payload)
        kind = payload[0] & 31
        if kind == _FU_A and len(payload) > 1:
            kind = payload[1] & 31
        self._is_key |= kind in (_SPS, _IDR, _STAP_A)
        if self._size > _MAX_UNIT:
            self._is_torn, self._parts = True, []
        elif self._is_key:
            self._parts += _annex_b(payload)


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


def _annex_b(payload: bytes) -> Iterator[bytes]:
    kind = payload[0] & 31
    if kind == _FU_A and len(payload) > 1:
        if payload[1] & 0x80:
            yield _START + bytes([payload[0] & 0xE0 | payload[1] & 31])
        yield payload[2:]
    elif kind == _STAP_A:
        at = 1
        while at + 2 < len(payload):
            size = int.from_bytes(payload[at : at + 2])
            yield _START + payload[at + 2 : at + 2 + size]
            at += 2 + size
    else:
        yield _START + payload
