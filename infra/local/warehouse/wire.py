"""Bytes on the way in and out: HTTP compression, and one document out of the engine's many.

chDB streams one whole document per block. Formats without a header concatenate; the header
of the others is cut from every block but the first. Formats that cannot be joined (JSON,
Parquet, Arrow files, Pretty) are sent whole.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import lz4.frame
import pyarrow as pa
import zstandard

from infra.local.warehouse.faults import BAD_ARGUMENTS, UNKNOWN_COMPRESSION, QueryError

_PLAIN: Final = frozenset(
    {"Native", "JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "TabSeparated", "TSV", "TSVRaw", "CSV",
     "TabSeparatedRaw", "RowBinary", "LineAsString"}
)  # fmt: skip
_HEADER_LINES: Final = {"WithNames": 1, "WithNamesAndTypes": 2}
_ARROW_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_FORMAT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_OF_PYTHON: Final = frozenset({"dataframe", "arrowtable"})  # chDB's own names: objects, not bytes
_CONTENT_TYPES: Final = (
    ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONCompactEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSON", "application/json; charset=UTF-8"),
    ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ("TSV", "text/tab-separated-values; charset=UTF-8"),
    ("CSV", "text/csv; charset=UTF-8"),
    ("Pretty", "text/plain; charset=UTF-8"),
)
_SLICE_BYTES: Final = 4096  # a hostile zstd frame swells 16,000-fold; in slices the body limit sees it in time


def checked_format(name: str) -> str:
    """Return *name* when it can be a format of the engine.

    Raises:
        QueryError: it cannot.
    """
    if not _FORMAT_NAME.fullmatch(name) or name.lower() in _OF_PYTHON:
        raise QueryError(BAD_ARGUMENTS, f"Unknown format {name[:40]}. (BAD_ARGUMENTS)")
    return name


def content_type(format_name: str) -> str:
    """Return the MIME type of a result."""
    return next((kind for prefix, kind in _CONTENT_TYPES if format_name.startswith(prefix)), "application/octet-stream")


class Joiner:
    """Passes the first block whole, cuts that block's header from the later ones, and each block's end from all."""

    def __init__(self, header_bytes: Callable[[bytes], int] | None, end: bytes = b"") -> None:
        self._header_bytes, self.end, self._seen = header_bytes, end, False

    @property
    def has_header(self) -> bool:
        """Tell whether even a result without rows says something."""
        return self._header_bytes is not None

    def add(self, block: bytes) -> bytes:
        """Return what *block* adds to the document; `end` closes it."""
        start = self._header_bytes(block) if self._header_bytes and self._seen else 0
        self._seen = True
        return block[start:].removesuffix(self.end)


def joiner(format_name: str) -> Joiner | None:
    """Return what turns the blocks of a result into one document, or None when it must be sent whole."""
    if format_name in _PLAIN:
        return Joiner(None)
    if format_name == "ArrowStream":
        return Joiner(_arrow_header, _ARROW_END)
    family, _, suffix = format_name.partition("With")
    lines = _HEADER_LINES.get("With" + suffix)
    if lines is not None and family == "RowBinary":
        return Joiner(lambda block: _binary_header(block, lines))
    if lines is None or family not in {"TabSeparated", "TSV", "CSV", "JSONCompactEachRow"}:
        return None
    return Joiner(lambda block: _line_header(block, lines, quotes=family == "CSV"))


def _line_header(block: bytes, lines: int, *, quotes: bool) -> int:
    """Return the length of *lines* lines; inside CSV's quotes a line break ends none."""
    end = 0
    for _ in range(lines):
        start = end
        end = block.index(b"\n", end) + 1
        while quotes and block.count(b'"', start, end) % 2:
            end = block.index(b"\n", end) + 1
    return end


def _binary_header(block: bytes, lists: int) -> int:
    """Return the length of RowBinary's header: how many columns, then their names and, in the second list, types."""
    columns, end = _varint(block, 0)
    for _ in range(columns * lists):
        size, end = _varint(block, end)
        end += size
    return end


def _varint(block: bytes, at: int) -> tuple[int, int]:
    """Return the LEB128 number at *at* and where it ends."""
    value = shift = 0
    while True:
        byte = block[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _arrow_header(block: bytes) -> int:
    """Return the length of the schema message at the head of an Arrow stream."""
    reader = pa.BufferReader(block)
    pa.ipc.read_message(reader)
    return int(reader.tell())


class Encoder:
    """Compresses one response body as HTTP does; `kind` is the `Content-Encoding`, None for none."""

    def __init__(self, accepted: str) -> None:
        names = {part.split(";")[0].strip() for part in accepted.split(",")}
        self.kind = next((kind for kind in ("lz4", "zstd", "gzip", "deflate") if kind in names), None)
        self._head = b""
        self._codec: Any = None
        if self.kind == "lz4":
            self._codec = lz4.frame.LZ4FrameCompressor()
            self._head = self._codec.begin()
        elif self.kind == "zstd":
            self._codec = zstandard.ZstdCompressor(1).compressobj()
        elif self.kind is not None:
            self._codec = zlib.compressobj(3, wbits=31 if self.kind == "gzip" else 15)

    def add(self, part: bytes) -> bytes:
        """Return what can be sent after *part*; may be empty."""
        if self._codec is None:
            return part
        return self._with_head(self._codec.compress(part))

    def end(self) -> bytes:
        """Return what ends the body."""
        if self._codec is None:
            return b""
        return self._with_head(self._codec.flush())

    def _with_head(self, part: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + part


class Decoder:
    """Decompresses one request body, compressed as HTTP does, as it comes.

    Raises:
        QueryError: an encoding we do not know, or bytes that are not of it.
    """

    def __init__(self, encoding: str) -> None:
        makers: dict[str, Callable[[], Any]] = {
            "lz4": lz4.frame.LZ4FrameDecompressor,
            "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(read_across_frames=True),
            "gzip": lambda: zlib.decompressobj(31),
            "deflate": zlib.decompressobj,
        }
        self._codec: Any = None
        if encoding not in {"", "identity"}:
            if encoding not in makers:
                raise QueryError(
                    UNKNOWN_COMPRESSION, f"Unknown content encoding {encoding[:20]}. (UNKNOWN_COMPRESSION_METHOD)"
                )
            self._make = makers[encoding]
            self._codec = self._make()

    def add(self, part: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of *part*, in pieces of bounded size."""
        if self._codec is None:
            yield part
            return
        try:
            for at in range(0, len(part), _SLICE_BYTES):
                yield from self._plain(part[at : at + _SLICE_BYTES])
        except (RuntimeError, ValueError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise QueryError(BAD_ARGUMENTS, f"The body cannot be decompressed: {error} (BAD_ARGUMENTS)") from error

    def _plain(self, part: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of *part*; frames may follow one another (clickhouse-connect sends one a block)."""
        while part:
            yield self._codec.decompress(part)
            part = b""
            if self._codec.eof:  # the rest belongs to the next frame: left with this one, its rows would be lost
                part, self._codec = self._codec.unused_data or b"", self._make()
