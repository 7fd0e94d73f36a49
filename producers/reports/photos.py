"""`/photos`: pictures of reports, checked, drawn again and stored; what travels is a reference.

A reference is the SHA-256 of what is stored, so a repeated upload is the same photo, and a case shows
that its evidence is what was sent.
"""

import asyncio
import sys
from hashlib import sha256
from typing import Any, Final

import obstore
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from infra.photos import photo_store
from infra.settings import Settings
from producers.reports.door import Problem, refusals, within_rate
from producers.reports.picture import REFUSED
from schemas.errors import OverloadedError, RecordError

MAX_PHOTO_BYTES: Final = 8 << 20
_AT_ONCE, _WAITING = 2, 16
_DRAW_S = 10.0
PHOTO: Final = "photo:"  # what a reference to a stored one begins with
# A name is its content's hash: what it shows never changes.
_CACHED = {"Cache-Control": "public, max-age=86400, immutable", "X-Content-Type-Options": "nosniff"}
_JPEG = "image/jpeg"


class Photo(Struct, frozen=True):
    """Answer to an upload: what a report's `media` says."""

    media: str


class Photos:
    """The store of photos, and the few processes that draw them."""

    def __init__(self, settings: Settings) -> None:
        """Open the store that the settings name; nothing is read."""
        self._store = photo_store(settings)
        self._drawing = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def keep(self, content: bytes) -> str:
        """Draw a picture again and store it; return its reference.

        Raises:
            RecordError: `bad_picture`.
            OverloadedError: too many are being drawn.
        """
        if self._waiting >= _WAITING:
            raise OverloadedError("photos", f"{self._waiting} are being drawn")
        self._waiting += 1
        try:
            async with self._drawing:
                drawn = await _drawn(content)
        finally:
            self._waiting -= 1
        name = sha256(drawn).hexdigest()
        await obstore.put_async(self._store, _path(name), drawn)
        return PHOTO + name

    async def check(self, media: list[str]) -> None:
        """Refuse references to photos that are not stored.

        Raises:
            RecordError: `unknown_photo`.
        """
        for ref in media:
            if ref.startswith(PHOTO) and not await self._holds(ref.removeprefix(PHOTO)):
                raise RecordError("unknown_photo", "no such photo; upload it first", "media")

    async def stored(self, name: str) -> bytes:
        """Return the JPEG under a name.

        Raises:
            FileNotFoundError: there is none.
        """
        found = await obstore.get_async(self._store, _path(name))
        return bytes(await found.bytes_async())

    async def _holds(self, name: str) -> bool:
        try:
            await obstore.head_async(self._store, _path(name))
        except FileNotFoundError:
            return False
        return True


def _path(name: str) -> str:
    return f"{name[:2]}/{name}.jpg"


async def _drawn(content: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "producers.reports.picture",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        drawn, said = await asyncio.wait_for(child.communicate(content), _DRAW_S)
    except TimeoutError as error:
        raise RecordError("bad_picture", "took too long to draw") from error
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode == REFUSED:
        raise RecordError("bad_picture", said.decode())
    if child.returncode:  # out of memory or CPU time, or a decoder that died
        raise RecordError("bad_picture", "cannot be drawn")
    return drawn


@post(
    "/photos",
    status_code=201,
    guards=[within_rate],
    request_max_body_size=MAX_PHOTO_BYTES,
    responses=refusals(Problem, 413, 422, 429, 503),
)
async def post_photo(request: Request[Any, Any, State]) -> Photo:
    """Take a JPEG, PNG or WebP as the body; answer with the reference for a report's `media`.

    At most 8 MiB, 25 megapixels and one frame. EXIF does not survive.
    """
    return Photo(await request.app.state.photos.keep(await request.body()))


@get(
    "/photos/{name:str}",
    media_type=_JPEG,
    responses={200: ResponseSpec(bytes, description="the picture", media_type=_JPEG), **refusals(Problem, 404)},
)
async def get_photo(request: Request[Any, Any, State], name: str) -> Response[bytes]:
    """Return a photo that a report names; what a private one names is not on its record, and nobody's to see."""
    state = request.app.state
    if not state.cases.names(PHOTO + name):
        raise NotFoundException("no such photo, or not for everybody to see")
    try:
        return Response(await state.photos.stored(name), media_type=_JPEG, headers=_CACHED)
    except FileNotFoundError as error:
        raise NotFoundException("no such photo, or not for everybody to see") from error
