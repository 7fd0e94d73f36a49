"""Sessions with cameras that lie, over sockets: every answer ends in one of our errors, soon, and nothing leaks."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from infra.clock import monotonic_s
from producers.cameras.rtsp import LoginRefusedError, playing
from schemas.errors import UnavailableError

SECRET = "geheim/passwort:42@x"
SDP = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n"
TCP = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
CHALLENGE = 'WWW-Authenticate: Digest realm="x", nonce="n"'

Script = dict[str, str | bytes]


def answer(*headers: str, status: str = "200 OK", body: str = "") -> str:
    """Return a response; `{cseq}` is filled in when it is sent."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"RTSP/1.0 {status}", "CSeq: {cseq}", *headers, *length]) + "\r\n\r\n" + body


OPTIONS = answer("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
HONEST: Script = {
    "OPTIONS": OPTIONS,
    "DESCRIBE": answer("Content-Type: application/sdp", body=SDP),
    "SETUP": answer(TCP, "Session: 1;timeout=60"),
    "PLAY": answer("Session: 1"),
    "TEARDOWN": answer("Session: 1"),
}


class Liar:
    """A camera that answers each method as it was told, and keeps what it heard."""

    def __init__(self, script: Script) -> None:
        self.script, self.heard = script, ""
        self.url = ""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other side goes."""
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heard += request
                cseq = request.split("CSeq: ")[1].split("\r\n")[0]
                said = self.script.get(request.split()[0], b"")
                writer.write(said if isinstance(said, bytes) else said.replace("{cseq}", cseq).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def lying(changes: Script, scheme: str = "rtspt") -> AsyncIterator[Liar]:
    """Run a camera that is honest but for *changes*."""
    liar = Liar(HONEST | changes)
    server = await asyncio.start_server(liar.converse, "127.0.0.1", 0)
    liar.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"
    try:
        yield liar
    finally:
        server.close()


async def connect(liar: Liar, on_packet: Callable[[bytes], None] = lambda _: None, for_s: float = 0.0) -> None:
    async with playing(liar.url, "viewer", SECRET, on_packet) as session:
        deadline = monotonic_s() + for_s
        while monotonic_s() < deadline:
            session.check()
            await asyncio.sleep(0.02)


async def test_the_honest_one_is_no_liar() -> None:
    """Without a lie the session plays: what fails below fails for the lie."""
    async with lying({}) as liar:
        await connect(liar)

    assert "TEARDOWN" in liar.heard


@pytest.mark.parametrize(
    "lie",
    [
        {"OPTIONS": answer()},
        {"OPTIONS": answer("Public: PLAY", "Public: SETUP")},
        {"OPTIONS": "RTSP/1.0 200\r\n\r\n"},
        {"OPTIONS": "RTSP/1.0 OK 200\r\nCSeq: {cseq}\r\n\r\n"},
        {"OPTIONS": "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nCSeq: {cseq}\r\n\r\n"},
        {"OPTIONS": b"RTSP/1.0 200 OK\r\nPublic: \xff\xfe\r\n\r\n"},
        {"OPTIONS": b"HTTP/1.1 400 Bad Request\r\n\r\n"},
        {"OPTIONS": b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 20_000},
        {"DESCRIBE": answer(status="404 Not Found")},
        {"DESCRIBE": answer(status="200 " + "x" * 9_000)},
        {"DESCRIBE": answer("Content-Base: rtsp://a/", "Content-Base: rtsp://b/", body=SDP)},
        {"DESCRIBE": answer(body=SDP.replace("H264", "H265"))},
        {"DESCRIBE": answer(body="v=0\r\nm=audio 0 RTP/AVP 8\r\n")},
        {"DESCRIBE": answer(body=SDP.replace("96 H264/90000", "?"))},
        {"DESCRIBE": b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 4\r\n\r\n\xff\xfe\xff\xfe"},
        {"SETUP": answer("Session: 1")},
        {"SETUP": answer(TCP.replace("0-1", "6-7"), "Session: 1")},
        {"SETUP": answer(TCP, "Session: 1", "Session: 2")},
        {"SETUP": answer(TCP, "Session: 1;timeout")},
        {"SETUP": answer(TCP, "Session: 1;timeout=" + "9" * 5_000)},
        {"PLAY": answer(status="500 Internal Server Error")},
        {"PLAY": b"\x00" * 100},
    ],
    ids=str,
)
async def test_a_lie_in_any_answer_ends_as_unavailable(lie: Script) -> None:
    """Whatever aiortsp raises at it, the caller sees `UnavailableError`, with little of the camera's own words."""
    async with lying(lie) as liar:
        with pytest.raises(UnavailableError) as caught:
            await connect(liar)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "challenges",
    [
        ['Basic realm="x"'],
        ['Basic realm="x"', 'Basic realm="y"'],
        ["Digest"],
        ['Digest realm="x", nonce="n"', 'Basic realm="x"'],
    ],
    ids=str,
)
async def test_a_camera_that_asks_for_basic_never_gets_the_password(challenges: list[str]) -> None:
    """Basic sends it in clear: a camera with nothing better counts as one that refuses us."""
    refusal = answer(*[f"WWW-Authenticate: {c}" for c in challenges], status="401 Unauthorized")
    async with lying({"DESCRIBE": refusal}) as liar:
        with pytest.raises(LoginRefusedError):
            await connect(liar)

    assert "Basic" not in liar.heard
    assert SECRET not in liar.heard


async def test_a_second_refusal_without_digest_is_an_error_of_ours() -> None:
    """The library looks for a Digest challenge among several and raises StopIteration when there is none."""
    refusals = iter(
        [
            answer(CHALLENGE, status="401 Unauthorized"),
            answer('WWW-Authenticate: Basic realm="x"', 'WWW-Authenticate: Basic realm="y"', status="401 Unauthorized"),
        ]
    )
    async with lying({}) as liar:
        liar.script = _Each(liar.script, refusals)
        with pytest.raises((UnavailableError, LoginRefusedError)):
            await connect(liar)


class _Each(dict[str, str | bytes]):
    """A script whose DESCRIBE is answered differently each time."""

    def __init__(self, script: Script, answers: object) -> None:
        super().__init__(script)
        self._answers = answers

    def get(self, method: str, default: str | bytes = b"") -> str | bytes:  # type: ignore[override]
        return next(self._answers, default) if method == "DESCRIBE" else super().get(method, default)  # type: ignore[call-overload]


async def test_a_session_says_why_it_ended() -> None:
    """Garbage after PLAY closes the connection, and the reason is not just that it was closed."""
    async with lying({"PLAY": answer("Session: 1") + "\x00\x01\x02"}) as liar:
        with pytest.raises(UnavailableError, match="neither RTSP nor RTP"):
            await connect(liar, for_s=5)


async def test_nothing_of_a_session_is_logged_or_printed(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library logs bad data whole and prints tracebacks: neither frames nor log-ins may get out."""
    caplog.set_level(logging.DEBUG)
    frame = "$\x00\x00\x06FRAME!"
    async with lying({"PLAY": answer("Session: 1") + frame + "\x00\x01FRAME!"}) as liar:
        with pytest.raises(UnavailableError):
            await connect(liar, for_s=5)

    assert "FRAME!" not in caplog.text + "".join(capsys.readouterr())


async def test_datagrams_of_others_are_not_the_cameras() -> None:
    """A UDP port hears everybody: only what comes from the camera's address counts."""
    taken: asyncio.Queue[bytes] = asyncio.Queue()
    changes: Script = {"SETUP": answer("Transport: RTP/AVP;unicast", "Session: 1")}
    async with lying(changes, "rtsp") as liar, playing(liar.url, "viewer", SECRET, taken.put_nowait):
        port = int(liar.heard.split("client_port=")[1].split("-")[0])
        for source, packet in (("127.0.0.2", b"stranger"), ("127.0.0.1", b"camera")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.sendto(packet, ("127.0.0.1", port))
        first = await asyncio.wait_for(taken.get(), 5)

    assert first == b"camera"
