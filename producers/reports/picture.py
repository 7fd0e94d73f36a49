"""`python -m producers.reports.picture`: one picture from stdin, drawn again as JPEG on stdout.

A process of its own, for decoders are where uploads attack: it has 512 MB and 5 s of CPU, and whatever
kills it kills nothing else. What comes out holds pixels alone: no EXIF, no place, no second file behind
the first. Exit 65 with a reason on stderr when the input is no picture that is taken.
"""

import io
import os
import resource
import sys
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 25_000_000
REFUSED = os.EX_DATAERR
_FORMATS = ("JPEG", "PNG", "WEBP")
_MEMORY_BYTES, _CPU_S = 512 << 20, 5
_QUALITY = 85


class PictureError(Exception):
    """The bytes are no picture that is taken; the text says why."""


def redrawn(content: bytes) -> bytes:
    """Return the picture as a JPEG without anything but its pixels, upright.

    Raises:
        PictureError: not a JPEG, PNG or WebP, broken, above 25 megapixels, or more than one frame.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            picture = Image.open(io.BytesIO(content), formats=_FORMATS)
        with picture:
            _check(picture)
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except UnidentifiedImageError as error:
        raise PictureError("not a JPEG, PNG or WebP") from error
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise PictureError("broken, or larger than it says") from error
    paper = Image.new("RGB", upright.size, "white")
    paper.paste(upright, mask=upright.getchannel("A"))
    written = io.BytesIO()
    paper.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()


def _check(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError("above 25 megapixels")
    if getattr(picture, "n_frames", 1) > 1:
        raise PictureError("more than one frame")


def main() -> None:
    """Draw what comes on stdin."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    try:
        sys.stdout.buffer.write(redrawn(sys.stdin.buffer.read()))
    except PictureError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
