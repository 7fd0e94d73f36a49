"""One RTSP session with one camera, on aiortsp, made bounded and cheap.

What is changed of aiortsp 1.4.0, and why:
- Digest only, credentials never in the URL: aiortsp prefers Basic when both are offered, and
  does not unquote passwords in URLs.
- No queue: its reader's has no limit (190 packets a second and stream when nobody reads).
- RTP headers are read by `struct`, not by dpkt, and interleaved packets are cut out of the
  receive buffer without a parser object each: 6 % of a core for 100 streams instead of 28 %.
- Headers and bodies have an end (`domain.framing`): it would keep a line without CRLF for ever.
- Datagrams count only from the camera's own address: it takes them from anybody.
- Errors of a camera are typed; aiortsp prints tracebacks to stderr, and what a camera's answer
  makes it raise ends as `AttributeError`, `AssertionError`, `StopIteration` and more.
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from aiortsp.rtsp.connection import RTSPConnection
from aiortsp.rtsp.errors import RTSPConnectionError, RTSPError, RTSPResponseError
from aiortsp.rtsp.session import RTSPMediaSession
from aiortsp.transport.tcp import TCPTransport
from aiortsp.transport.udp import RTCPSink, RTPSink, UDPTransport

from producers.cameras.domain.framing import Framing
from schemas.errors import GridwatchError, UnavailableError

TIMEOUT_S = 5.0  # for each answer
_SETUP_S = 10.0  # from connecting to PLAY: a camera may not dally over every answer
_GOODBYE_S = 1.0
_SHOWN_CHARS = 100  # of a camera's own words in a log line

OnPacket = Callable[[bytes], None]

# aiortsp logs messages whole, log-ins among them.
_silent = logging.getLogger("aiortsp.silent")
_silent.disabled = True

# What aiortsp raises when an answer is not what it expects (RuntimeError: StopIteration in a coroutine).
_LIES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class LoginRefusedError(GridwatchError):
    """The camera does not take our log-in; trying again soon would lock us out."""


class _Connection(RTSPConnection):  # type: ignore[misc]
    """An RTSP connection that hands interleaved RTP on without making objects of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, logger=_silent, **kwargs)
        self.on_packet: dict[int, OnPacket] = {}
        self.failure: UnavailableError | None = None
        self._framing = Framing()

    @property
    def camera_ip(self) -> str:
        """Return the address at the other end."""
        found: str = self._transport.get_extra_info("peername")[0]
        return found

    def data_received(self, data: bytes) -> None:
        """Hand packets to who asked for them, and text to aiortsp; end the session at what is neither."""
        try:
            for channel, piece in self._framing.feed(data):
                if channel is None:
                    self._read(piece)
                elif (handler := self.on_packet.get(channel)) is not None:
                    handler(piece)
        except UnavailableError as error:
            self._fail(error)

    def _read(self, message: bytes) -> None:
        try:
            found = list(self.parser.parse(message))
        except (*_LIES, RTSPError) as error:
            raise UnavailableError("camera", f"sends what is no RTSP: {type(error).__name__}") from error
        for answer in found:
            waiting = self.active_requests.get(answer.cseq) if answer.type == "response" else None
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def _fail(self, error: UnavailableError) -> None:
        self.failure = self.failure or error
        if not self.result.done():
            self.result.set_exception(RTSPConnectionError(str(error)))
            self.result.exception()  # looked at: nobody else need be
        if self._transport is not None:
            self._transport.abort()


class _OverTcp(TCPTransport):  # type: ignore[misc]
    """Interleaved RTP, handed to one callback."""

    def __init__(self, connection: _Connection, on_packet: OnPacket) -> None:
        super().__init__(connection, logger=_silent, timeout=0)
        self._on_packet = on_packet

    async def prepare(self) -> None:
        """Ask the connection for two channels."""
        await super().prepare()
        self.connection.on_packet[self.rtp_idx] = self._on_packet


class _FromCamera(RTPSink):  # type: ignore[misc]
    """A socket that hears one camera."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Hand on what the camera sends; anybody can send to a port."""
        if addr[0] == self.receiver.connection.camera_ip:
            self.receiver.handle_rtp_data(data)


class _OverUdp(UDPTransport):  # type: ignore[misc]
    """RTP in datagrams, handed to one callback."""

    def __init__(self, connection: _Connection, on_packet: OnPacket) -> None:
        super().__init__(connection, logger=_silent, timeout=0)
        self._on_packet = on_packet

    async def prepare(self) -> None:
        """Open two ports in a row, as aiortsp does, but with a socket that knows who may send."""
        loop = asyncio.get_running_loop()
        rtp, rtcp = self.get_socket_pair()
        _, self.rtp_sink = await loop.create_datagram_endpoint(lambda: _FromCamera(self), sock=rtp)
        _, self.rtcp_sink = await loop.create_datagram_endpoint(lambda: RTCPSink(self), sock=rtcp)

    def handle_rtp_data(self, data: bytes) -> None:
        """Hand one packet on."""
        if self.connection.running:
            self._on_packet(data)

    def handle_rtcp(self, data: bytes, sender: Any) -> None:
        """Leave the camera's reports unread: what is lost we count ourselves."""


@asynccontextmanager
async def playing(url: str, user: str, password: str, on_packet: OnPacket) -> AsyncIterator["Session"]:
    """Connect, log in, PLAY; tear down at the end.

    Args:
        url: `rtsp://` is RTP over UDP, `rtspt://` interleaved TCP.
        user: log-in.
        password: of the log-in.
        on_packet: called with each RTP packet, on the event loop.

    Raises:
        LoginRefusedError: 401 after the log-in, or no Digest offered.
        UnavailableError: the camera refuses, hangs or lies.
    """
    parts = urlsplit(url)
    connection = _Connection(
        parts.hostname, parts.port or 554, user, password, accept_auth=["digest"], timeout=TIMEOUT_S
    )
    transport = (_OverTcp if parts.scheme == "rtspt" else _OverUdp)(connection, on_packet)
    media = RTSPMediaSession(connection, url, transport, logger=_silent)
    async with AsyncExitStack() as opened:
        with _errors_of(connection):
            async with asyncio.timeout(_SETUP_S):
                await opened.enter_async_context(connection)
                await opened.enter_async_context(transport)
                await media.setup()
                _check_codec(media.sdp)
                await media.play()
        try:
            yield Session(connection, media)
        finally:
            await _goodbye(media)


@contextmanager
def _errors_of(connection: _Connection) -> Iterator[None]:
    """Turn what aiortsp raises at a camera's answers into errors of ours."""
    try:
        yield
    except RTSPResponseError as error:
        answer = error.response
        if answer is None:
            raise UnavailableError("camera", _plain(error)) from None
        if answer.status == 401:
            raise LoginRefusedError("the log-in was refused") from None
        said = f"answered {answer.status} {answer.status_msg[:_SHOWN_CHARS]}"
        raise UnavailableError("camera", said) from None
    except (RTSPError, OSError, TimeoutError, *_LIES) as error:
        raise connection.failure or UnavailableError("camera", _plain(error)) from None


def _check_codec(sdp: Any) -> None:
    media = sdp.get_media("video") or {}
    encoding = media.get("attributes", {}).get("rtpmap", {}).get("encoding", "nothing")
    if encoding.upper() != "H264":
        raise UnavailableError("camera", f"offers {encoding[:_SHOWN_CHARS]}, not H264")


async def _goodbye(media: Any) -> None:
    try:
        await asyncio.wait_for(media.teardown(), _GOODBYE_S)
    except (RTSPError, TimeoutError, OSError, *_LIES):
        return  # it was going anyway


def _plain(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:_SHOWN_CHARS] if lines else 'no more is known'}"


class Session:
    """A session that plays."""

    def __init__(self, connection: _Connection, media: Any) -> None:
        """Wrap an open session."""
        self._connection, self._media = connection, media

    @property
    def keep_alive_s(self) -> float:
        """Return how often `keep_alive` must be called: a third of the session's life."""
        life_s: float = self._media.session_keepalive / 0.9  # aiortsp keeps nine tenths of it
        return max(1.0, life_s / 3)

    @property
    def parameter_sets(self) -> bytes:
        """Return SPS and PPS of the session description as Annex B; some cameras send them nowhere else."""
        try:
            sets = [base64.b64decode(part) for part in (self._media.sdp.guess_h264_props() or "").split(",")]
        except ValueError:
            return b""
        return b"".join(b"\x00\x00\x00\x01" + part for part in sets if part)

    def check(self) -> None:
        """Return while the connection stands.

        Raises:
            UnavailableError: it does not; the text says why.
        """
        if not self._connection.running:
            raise self._connection.failure or UnavailableError("camera", "the connection was closed")

    async def keep_alive(self) -> None:
        """Tell the camera that somebody watches.

        Raises:
            LoginRefusedError: the camera no longer knows us.
            UnavailableError: it does not answer.
        """
        with _errors_of(self._connection):
            await self._media.keep_alive()
