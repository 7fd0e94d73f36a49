"""The simulated district's RTSP server (RFC 2326): real sockets, TCP and UDP, Digest, and faults on demand.

One task moves all cameras every 20 ms. What a camera does wrong is set in `faults` while it runs.
"""

import asyncio
import hashlib
import itertools
import re
import secrets
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from infra.clock import monotonic_s, utc_now
from producers.simulator.rtsp.clip import Clip

_TICK_S = 0.02
_MAX_QUEUED = 1 << 20  # bytes a slow reader may leave unread before frames are left out
_REPORT_S = 5.0
_NTP_EPOCH = 2_208_988_800
_REALM = "gridwatch-simulator"


class Fault(StrEnum):
    """What a camera can do wrong."""

    REFUSE = "refuse"  # 503 to DESCRIBE, and sessions are cut
    HANG = "hang"  # answers nothing
    SILENT = "silent"  # PLAY is fine, no packet ever comes
    RESET = "reset"  # the connection is reset again and again
    GARBAGE = "garbage"  # sends bytes that are neither RTSP nor RTP
    LIE = "lie"  # sends RTP as it should, with noise where H.264 ought to be
    LOCKED = "locked"  # refuses every log-in, the right one too


class RtspServer:
    """Serves one path per camera."""

    def __init__(self, clips: Mapping[str, Clip], user: str, password: str, session_timeout_s: int = 60) -> None:
        """Make a server.

        Args:
            clips: by camera id, which is the path.
            user: log-in that every camera wants.
            password: of that log-in.
            session_timeout_s: a session without a request for so long is closed.
        """
        self.clips, self.faults = dict(clips), dict[str, Fault]()
        self.refused_logins: dict[str, int] = {}
        self.requests: Counter[tuple[str, str]] = Counter()  # by camera and method
        self.user, self.password, self.session_timeout_s = user, password, session_timeout_s
        self.connected: set[_Client] = set()
        self.playing: set[_Client] = set()
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, chosen by the system when *port* is 0."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), host, port, backlog=256)
        self._ticker = asyncio.create_task(self._tick())
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close every connection."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        for client in list(self.connected):
            client.cut()

    async def _tick(self) -> None:
        while True:
            began = monotonic_s()
            for client in list(self.playing):
                client.send_due(began)
            await asyncio.sleep(max(0.001, _TICK_S - (monotonic_s() - began)))


class _Client(asyncio.Protocol):
    """One connection: one camera, one reader."""

    def __init__(self, server: RtspServer) -> None:
        self._server, self._buffer = server, b""
        self._transport: Any = None
        self._nonce, self._session = secrets.token_hex(8), secrets.token_hex(4)
        self._camera = ""
        self._channel: int | None = None
        self._udp: socket.socket | None = None
        self._peer = ("", 0)
        self._sequence, self._ssrc = secrets.randbelow(1 << 15), secrets.randbits(32)
        self._sent, self._octets = 0, 0
        self._frame, self._started_s, self._first, self._reported_s = 0, 0.0, 0, 0.0
        self._asked_s = monotonic_s()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.connected.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connected.discard(self)
        self._server.playing.discard(self)
        if self._udp is not None:
            self._udp.close()

    def cut(self) -> None:
        """Reset the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            if self._buffer[0] == 0x24:  # the reader's RTCP, interleaved
                if len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[2:4]):
                    return
                self._buffer = self._buffer[4 + int.from_bytes(self._buffer[2:4]) :]
                continue
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self._buffer = rest
            self._answer(head.decode("latin-1"))

    def _answer(self, message: str) -> None:
        first, *lines = message.split("\r\n")
        method, url, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        camera = re.sub(r"^rtsp://[^/]+/", "", url).split("/")[0]
        self._server.requests[camera, method] += 1
        self._asked_s = monotonic_s()
        fault = self._server.faults.get(camera)
        if fault is Fault.HANG:
            return
        if fault is Fault.RESET:
            self.cut()
            return
        cseq = headers.get("cseq", "0")
        is_known = fault is not Fault.LOCKED and self._is_known(method, headers.get("authorization", ""))
        if method != "OPTIONS" and not is_known:
            self._server.refused_logins[camera] = self._server.refused_logins.get(camera, 0) + 1
            challenge = f'WWW-Authenticate: Digest realm="{_REALM}", nonce="{self._nonce}"'
            self._reply(cseq, "401 Unauthorized", challenge)
            return
        if fault is Fault.REFUSE:
            self._reply(cseq, "503 Service Unavailable")
            return
        handlers: dict[str, Callable[[str, str, str, Mapping[str, str]], None]] = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "TEARDOWN": self._teardown,
        }
        handler = handlers.get(method)
        if handler is None:
            self._keep_alive(cseq)
        else:
            handler(cseq, camera, url, headers)

    def _is_known(self, method: str, authorization: str) -> bool:
        given = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
        mine = _md5(f"{self._server.user}:{_REALM}:{self._server.password}")
        asked = _md5(f"{method}:{given.get('uri', '')}")
        wanted = _md5(f"{mine}:{self._nonce}:{asked}")
        return secrets.compare_digest(given.get("response", ""), wanted)

    def _reply(self, cseq: str, status: str = "200 OK", *headers: str, body: str = "") -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {cseq}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _options(self, cseq: str, *_: Any) -> None:
        self._reply(cseq, "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")

    def _keep_alive(self, cseq: str) -> None:
        self._reply(cseq, "200 OK", f"Session: {self._session}")

    def _describe(self, cseq: str, camera: str, url: str, _: Mapping[str, str]) -> None:
        clip = self._server.clips.get(camera)
        if clip is None:
            self._reply(cseq, "404 Not Found")
            return
        base = f"Content-Base: {url.rstrip('/')}/"
        self._reply(cseq, "200 OK", base, "Content-Type: application/sdp", body=clip.sdp())

    def _setup(self, cseq: str, camera: str, _: str, headers: Mapping[str, str]) -> None:
        self._camera = camera
        wanted = headers.get("transport", "")
        session = f"Session: {self._session};timeout={self._server.session_timeout_s}"
        if over_tcp := re.search(r"interleaved=(\d+)-(\d+)", wanted):
            self._channel = int(over_tcp[1])
            answer = f"Transport: RTP/AVP/TCP;unicast;interleaved={over_tcp[1]}-{over_tcp[2]}"
        elif over_udp := re.search(r"client_port=(\d+)-(\d+)", wanted):
            if self._udp is not None:
                self._udp.close()
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.setblocking(False)
            self._udp.bind((self._transport.get_extra_info("sockname")[0], 0))
            self._peer = (self._transport.get_extra_info("peername")[0], int(over_udp[1]))
            port = self._udp.getsockname()[1]
            ports = f"client_port={over_udp[1]}-{over_udp[2]};server_port={port}-{port + 1}"
            answer = f"Transport: RTP/AVP;unicast;{ports}"
        else:
            self._reply(cseq, "461 Unsupported Transport")
            return
        self._reply(cseq, "200 OK", answer, session)

    def _play(self, cseq: str, camera: str, *_: Any) -> None:
        self._reply(cseq, "200 OK", f"Session: {self._session}")
        clip = self._server.clips[camera]
        # Cameras that play one clip are not in step, but each always starts at the same place of it.
        # Like most cameras they begin a session with a key frame.
        self._first = self._frame = clip.key_frame_before(sum(camera.encode()) * 7 % len(clip.frames))
        self._started_s = monotonic_s()
        self._server.playing.add(self)

    def _teardown(self, cseq: str, *_: Any) -> None:
        self._server.playing.discard(self)
        self._keep_alive(cseq)

    def send_due(self, now_s: float) -> None:
        """Send the frames that are due at *now_s*, or misbehave as told."""
        fault = self._server.faults.get(self._camera)
        if fault in (Fault.REFUSE, Fault.RESET) or now_s - self._asked_s > self._server.session_timeout_s:
            self.cut()
            return
        if fault in (Fault.HANG, Fault.SILENT):
            return
        if fault is Fault.GARBAGE:
            self._transport.write(secrets.token_bytes(64))
            return
        clip = self._server.clips[self._camera]
        due = self._first + int((now_s - self._started_s) * clip.fps)
        if self._transport.get_write_buffer_size() > _MAX_QUEUED:
            self._frame = due
        for n in range(self._frame, due):
            self._send_frame(clip, n)
        self._frame = max(self._frame, due)
        if now_s - self._reported_s > _REPORT_S:
            self._reported_s = now_s
            self._send(1, self._sender_report(clip))

    def _send_frame(self, clip: Clip, n: int) -> None:
        payloads = clip.frames[n % len(clip.frames)]
        if self._server.faults.get(self._camera) is Fault.LIE:
            payloads = [payload[:1] + secrets.token_bytes(len(payload) - 1) for payload in payloads]
        timestamp = n * 90_000 // clip.fps & 0xFFFFFFFF
        for left, payload in zip(itertools.count(len(payloads) - 1, -1), payloads, strict=False):
            header = struct.pack("!BBHII", 0x80, 96 | (left == 0) << 7, self._sequence, timestamp, self._ssrc)
            self._sequence = self._sequence + 1 & 0xFFFF
            self._sent, self._octets = self._sent + 1, self._octets + len(payload)
            self._send(0, header + payload)

    def _sender_report(self, clip: Clip) -> bytes:
        now = utc_now().timestamp() + _NTP_EPOCH
        rtp = self._frame * 90_000 // clip.fps & 0xFFFFFFFF
        counts = (self._sent & 0xFFFFFFFF, self._octets & 0xFFFFFFFF)
        return struct.pack("!BBHIIIIII", 0x80, 200, 6, self._ssrc, int(now), int(now % 1 * 2**32), rtp, *counts)

    def _send(self, track: int, packet: bytes) -> None:
        if self._channel is not None:
            self._transport.write(struct.pack("!BBH", 0x24, self._channel + track, len(packet)) + packet)
        elif self._udp is not None:
            try:
                self._udp.sendto(packet, (self._peer[0], self._peer[1] + track))
            except OSError:
                return  # the reader's port is gone, or the socket is full: datagrams may be lost


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
