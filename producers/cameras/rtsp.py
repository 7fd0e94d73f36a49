"""One RTSP session with one camera, on aiortsp, made bounded and cheap.

What is changed of aiortsp 1.4.0, and why:
- Digest only, credentials never in the URL: aiortsp prefers Basic when both are offered, and
  does not unquote passwords in URLs.
- No queue: its reader's has no limit (190 packets a second and stream when nobody reads).
- RTP headers are read by `struct`, not by dpkt, and interleaved packets are cut out of the
  receive buffer without a parser object each: 6 % of a core for 100 streams instead of 28 %.
- A header block has an end: a line without CRLF would be kept for ever.
- Errors of a camera are typed; aiortsp prints tracebacks to stderr.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiortsp.rtsp.connection import RTSPConnection
from aiortsp.rtsp.errors import RTSPConnectionError, RTSPError, RTSPResponseError
from aiortsp.rtsp.session import RTSPMediaSession
from aiortsp.transport.tcp import TCPTransport
from aiortsp.transport.udp import UDPTransport

from schemas.errors import GridwatchError, UnavailableError

TIMEOUT_S = 5.0
_MAX_TEXT_BYTES = 64 << 10  # of RTSP text between two packets
_DOLLAR = 0x24

OnPacket = Callable[[bytes], None]

# aiortsp logs messages whole, log-ins among them.
_silent = logging.getLogger("aiortsp.silent")
_silent.disabled = True


class LoginRefusedError(GridwatchError):
    """The camera does not take our log-in; trying again soon would lock us out."""


class _Connection(RTSPConnection):  # type: ignore[misc]
    """An RTSP connection that hands interleaved RTP on without making objects of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, logger=_silent, **kwargs)
        self.on_packet: dict[int, OnPacket] = {}
        self._rest = b""
        self._text_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Cut packets out of the stream; give text, and packets nobody asked for, to aiortsp."""
        try:
            self._take(self._rest + data)
        except Exception as error:  # noqa: BLE001 - whatever a hostile camera makes the parser raise ends its session
            self._fail(error)

    def _take(self, data: bytes) -> None:
        at = 0
        while at + 4 <= len(data) and data[at] == _DOLLAR and self._is_between_messages:
            end = at + 4 + int.from_bytes(data[at + 2 : at + 4])
            if end > len(data):
                break
            handler = self.on_packet.get(data[at + 1])
            if handler is not None:
                handler(data[at + 4 : end])
            at, self._text_bytes = end, 0
        self._rest = data[at:]
        if self._rest and (self._rest[0] != _DOLLAR or not self._is_between_messages):
            text, self._rest = self._rest, b""
            self._text_bytes += len(text)
            if self._text_bytes > _MAX_TEXT_BYTES:
                raise ValueError("the camera sends text without end")
            self._parse(text)

    @property
    def _is_between_messages(self) -> bool:
        return self.parser.pending_msg is None and not self.parser._prev_data

    def _parse(self, text: bytes) -> None:
        for message in self.parser.parse(text):
            self._text_bytes = 0
            if message.type == "binary":
                handler = self.on_packet.get(message.id)
                if handler is not None:
                    handler(message.data)
                continue
            waiting = self.active_requests.get(message.cseq) if message.type == "response" else None
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def _fail(self, error: Exception) -> None:
        if not self.result.done():
            failure = RTSPConnectionError(f"{type(error).__name__}: {error}")
            self.result.set_exception(failure)
            self.result.exception()  # looked at: nobody else need be
        if self._transport is not None:
            self._transport.abort()


class _OverTcp(TCPTransport):  # type: ignore[misc]
    """Interleaved RTP, handed to one callback."""

    def __init__(self, connection: _Connection, on_packet: OnPacket) -> None:
        super().__init__(connection, logger=_silent, timeout=0)
        self._on_packet = on_packet

    async def prepare(self) -> None:
        await super().prepare()
        self.connection.on_packet[self.rtp_idx] = self._on_packet


class _OverUdp(UDPTransport):  # type: ignore[misc]
    """RTP in datagrams, handed to one callback."""

    def __init__(self, connection: _Connection, on_packet: OnPacket) -> None:
        super().__init__(connection, logger=_silent, timeout=0)
        self._on_packet = on_packet

    def handle_rtp_data(self, data: bytes) -> None:
        """Hand one packet on."""
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
    try:
        async with connection, transport:
            await media.setup()
            await media.play()
            try:
                yield Session(connection, media)
            finally:
                await _goodbye(media)
    except RTSPResponseError as error:
        if getattr(error.response, "status", None) == 401:
            raise LoginRefusedError("the log-in was refused") from None
        answer = error.response
        said = f"answered {answer.status} {answer.status_msg}" if answer is not None else _plain(error)
        raise UnavailableError("camera", said) from None
    except (RTSPError, OSError, ValueError, KeyError, AssertionError, TimeoutError) as error:
        raise UnavailableError("camera", _plain(error)) from None


async def _goodbye(media: Any) -> None:
    try:
        await asyncio.wait_for(media.teardown(), 1.0)
    except (RTSPError, TimeoutError, OSError):
        return  # it was going anyway


def _plain(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no more is known'}"


class Session:
    """A session that plays."""

    def __init__(self, connection: _Connection, media: Any) -> None:
        """Wrap an open session."""
        self._connection, self._media = connection, media

    @property
    def keep_alive_s(self) -> float:
        """Return how often `keep_alive` must be called: a third of the session's life."""
        life_s: float = self._media.session_keepalive / 0.9  # aiortsp keeps nine tenths of it
        return max(5.0, life_s / 3)

    @property
    def is_open(self) -> bool:
        """Tell whether the connection still stands."""
        return bool(self._connection.running)

    async def keep_alive(self) -> None:
        """Tell the camera that somebody watches.

        Raises:
            UnavailableError: it does not answer.
        """
        try:
            await self._media.keep_alive()
        except (RTSPError, OSError) as error:
            raise UnavailableError("camera", _plain(error)) from error
