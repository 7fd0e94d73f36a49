"""Pictures: what is taken comes out as pixels alone, what is not is refused before it costs anything."""

import io
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from producers.reports.picture import PictureError, redrawn

PLACE = b"34.5435N109.052E"


def a_picture(form: str, size: tuple[int, int] = (40, 20), **options: object) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, "red").save(written, form, **options)
    return written.getvalue()


def with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = PLACE.decode()
    return a_picture("JPEG", exif=exif)


def a_bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header promises more than anybody wants to see."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_each_kind_becomes_a_jpeg_of_its_size(form: str) -> None:
    with Image.open(io.BytesIO(redrawn(a_picture(form)))) as found:
        assert (found.format, found.size) == ("JPEG", (40, 20))
        red, green, blue = found.convert("RGB").getpixel((5, 5))
        assert red > 240
        assert max(green, blue) < 20


def test_exif_goes_and_the_picture_stands_upright() -> None:
    """The place it was taken is nobody's business; turning by EXIF is done before EXIF is gone."""
    content = with_exif(orientation=6)
    assert PLACE in content

    drawn = redrawn(content)

    assert PLACE not in drawn
    with Image.open(io.BytesIO(drawn)) as found:
        assert (found.size, dict(found.getexif())) == ((20, 40), {})


def test_a_second_file_behind_the_picture_goes() -> None:
    assert b"PK\x03\x04 payload" not in redrawn(a_picture("JPEG") + b"PK\x03\x04 payload")


def test_what_is_transparent_is_white() -> None:
    written = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(written, "PNG")
    with Image.open(io.BytesIO(redrawn(written.getvalue()))) as found:
        assert found.getpixel((4, 4)) == (255, 255, 255)


def refused() -> Iterator[tuple[str, bytes]]:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for form in ("PNG", "WEBP"):
        written = io.BytesIO()
        frames[0].save(written, form, save_all=True, append_images=frames[1:])
        yield f"an animated {form}", written.getvalue()
    yield "a GIF", a_picture("GIF")
    yield "a BMP", a_picture("BMP")
    yield "nothing", b""
    yield "text", b"<svg onload=alert(1)>"
    yield "half a JPEG", a_picture("JPEG", size=(400, 400))[:700]
    yield "a broken PNG", a_picture("PNG")[:60]
    yield "81 megapixels", a_bomb(9000, 9000)
    yield "400 megapixels", a_bomb(20000, 20000)
    yield "a header of 65500 × 65500", a_bomb(65500, 65500)


@pytest.mark.parametrize("case", list(refused()), ids=lambda case: case[0])
def test_what_is_no_such_picture_is_refused(case: tuple[str, bytes]) -> None:
    with pytest.raises(PictureError):
        redrawn(case[1])
