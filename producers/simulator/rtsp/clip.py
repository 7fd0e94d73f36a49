"""A clip as RTP payloads, packetized once and shared by every camera that plays it (RFC 6184)."""

import base64
import struct
from collections.abc import Iterator
from pathlib import Path

import av
from msgspec import Struct

_MTU = 1400
_STAP_A, _FU_A = 24, 28
_SPS, _PPS, _AUD = 7, 8, 9


class Clip(Struct, frozen=True, kw_only=True):
    """One H.264 clip that is played round and round."""

    fps: int
    parameter_sets: list[bytes]
    frames: list[list[bytes]]  # RTP payloads of each access unit

    def key_frame_before(self, number: int) -> int:
        """Return the last frame up to *number* that can be decoded without others."""
        return max(n for n in range(number + 1) if self.frames[n][0][0] & 31 == _STAP_A)

    def sdp(self) -> str:
        """Return the session description (RFC 4566)."""
        profile = self.parameter_sets[0][1:4].hex()
        sets = ",".join(base64.b64encode(nal).decode() for nal in self.parameter_sets)
        lines = (
            "v=0",
            "o=- 1 1 IN IP4 0.0.0.0",
            "s=GridWatch simulator",
            "t=0 0",
            "a=control:*",
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            f"a=fmtp:96 packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}",
            "a=control:trackID=0",
        )
        return "".join(f"{line}\r\n" for line in lines)


def load_clip(path: Path) -> Clip:
    """Read an MP4 with one H.264 track."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        sets = list(_parameter_sets(stream.codec_context.extradata or b""))
        units = [bytes(packet) for packet in container.demux(stream) if packet.size]
        fps = int(stream.average_rate or 0)
    return Clip(fps=fps, parameter_sets=sets, frames=[_payloads(unit, sets) for unit in units])


def _parameter_sets(avcc: bytes) -> Iterator[bytes]:
    """Yield SPS and PPS of an `avcC` box (ISO/IEC 14496-15)."""
    at = 5
    for mask in (0x1F, 0xFF):  # the count of SPS has five bits, that of PPS eight
        count, at = avcc[at] & mask, at + 1
        for _ in range(count):
            (size,) = struct.unpack_from("!H", avcc, at)
            yield avcc[at + 2 : at + 2 + size]
            at += 2 + size


def _nals(unit: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(unit):
        (size,) = struct.unpack_from("!I", unit, at)
        yield unit[at + 4 : at + 4 + size]
        at += 4 + size


def _payloads(unit: bytes, sets: list[bytes]) -> list[bytes]:
    nals = [nal for nal in _nals(unit) if nal[0] & 31 not in (_SPS, _PPS, _AUD)]
    found = []
    if any(nal[0] & 31 == 5 for nal in nals):  # a key frame brings its parameter sets
        found.append(bytes([0x60 | _STAP_A]) + b"".join(struct.pack("!H", len(nal)) + nal for nal in sets))
    for nal in nals:
        found += [nal] if len(nal) <= _MTU else _fragments(nal)
    return found


def _fragments(nal: bytes) -> list[bytes]:
    head, body = nal[0], nal[1:]
    parts = [body[at : at + _MTU] for at in range(0, len(body), _MTU)]
    last = len(parts) - 1
    return [
        bytes([head & 0xE0 | _FU_A, (n == 0) << 7 | (n == last) << 6 | head & 31]) + part
        for n, part in enumerate(parts)
    ]
