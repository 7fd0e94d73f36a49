"""The engine's many documents become one; bodies are compressed both ways."""

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

from infra.local.warehouse.faults import QueryError
from infra.local.warehouse.wire import Decoder, Encoder, checked_format, joiner

UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


def joined(format_name: str, *blocks: bytes) -> bytes:
    blocks_joiner = joiner(format_name)
    assert blocks_joiner is not None
    return b"".join(map(blocks_joiner.add, blocks)) + blocks_joiner.end


def an_arrow_stream(rows: range) -> bytes:
    table = pa.table({"n": pa.array(rows), "s": pa.array([str(n) for n in rows])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("format_name", "blocks", "document"),
    [
        ("TSV", [b"1\n", b"2\n"], b"1\n2\n"),
        ("CSVWithNames", [b'"a"\n1\n', b'"a"\n2\n'], b'"a"\n1\n2\n'),
        ("CSVWithNames", [b'"a""b\nc"\n1\n', b'"a""b\nc"\n2\n'], b'"a""b\nc"\n1\n2\n'),
        ("JSONCompactEachRowWithNames", [b'["a"]\n[1]\n', b'["a"]\n[2]\n'], b'["a"]\n[1]\n[2]\n'),
        ("RowBinaryWithNames", [b"\x01\x01a\x07", b"\x01\x01a\x08"], b"\x01\x01a\x07\x08"),
        (
            "RowBinaryWithNamesAndTypes",
            [b"\x01\x80\x01" + b"n" * 128 + b"\x05UInt8\x07", b"\x01\x80\x01" + b"n" * 128 + b"\x05UInt8\x08"],
            b"\x01\x80\x01" + b"n" * 128 + b"\x05UInt8\x07\x08",
        ),
        ("TSVWithNamesAndTypes", [b'a"b\nInt8\n1\n', b'a"b\nInt8\n2\n'], b'a"b\nInt8\n1\n2\n'),
    ],
)
def test_a_header_comes_once(format_name: str, blocks: list[bytes], document: bytes) -> None:
    """Every block brings the header; a line break inside CSV's quotes does not end it."""
    assert joined(format_name, *blocks) == document


def test_arrow_streams_become_one() -> None:
    """One schema, all batches, one end."""
    stream = joined("ArrowStream", *[an_arrow_stream(range(n, n + 1000)) for n in (0, 1000, 2000)])

    assert pa.ipc.open_stream(stream).read_all()["n"].to_pylist() == list(range(3000))


@pytest.mark.parametrize("format_name", ["JSON", "Parquet", "Arrow", "PrettyCompact", "JSONEachRowWithProgress"])
def test_documents_that_cannot_be_joined_are_sent_whole(format_name: str) -> None:
    """Two JSON documents in a row are none."""
    assert joiner(format_name) is None


@pytest.mark.parametrize("name", ["dataframe", "ArrowTable", "a b", "TSV;", ""])
def test_only_a_format_of_the_engine_is_one(name: str) -> None:
    """ChDB's names for Python objects are no bytes to send."""
    with pytest.raises(QueryError):
        checked_format(name)


@pytest.mark.parametrize("kind", ["lz4", "zstd", "gzip", "deflate"])
def test_an_answer_is_compressed_as_it_is_accepted(kind: str) -> None:
    """Parts and end are one frame of the accepted kind."""
    encoder = Encoder(f"br, {kind};q=0.5")

    body = encoder.add(b"a" * 9999) + encoder.add(b"b") + encoder.end()

    assert encoder.kind == kind
    assert UNPACK[kind](body) == b"a" * 9999 + b"b"


def test_an_answer_is_plain_when_nothing_known_is_accepted() -> None:
    """Brotli is not spoken here."""
    assert Encoder("br").kind is None


@pytest.mark.parametrize("kind", list(PACK))
def test_a_body_is_decompressed_in_any_pieces(kind: str) -> None:
    """Chunks of the network cut frames anywhere."""
    plain = bytes(range(256)) * 300
    packed, decoder = PACK[kind](plain), Decoder(kind)

    pieces = [piece for at in range(0, len(packed), 777) for piece in decoder.add(packed[at : at + 777])]

    assert b"".join(pieces) == plain


@pytest.mark.parametrize("kind", ["lz4", "zstd", "gzip"])
@pytest.mark.parametrize("size", [3, 40, 1 << 20])
def test_frames_that_follow_one_another_are_all_read(kind: str, size: int) -> None:
    """clickhouse-connect compresses each block by itself; the network joins and cuts them anywhere."""
    blocks = [bytes([n]) * (100 + n) for n in range(20)]
    packed, decoder = b"".join(map(PACK[kind], blocks)), Decoder(kind)

    pieces = [piece for at in range(0, len(packed), size) for piece in decoder.add(packed[at : at + size])]

    assert b"".join(pieces) == b"".join(blocks)


def test_a_swelling_body_comes_in_bounded_pieces() -> None:
    """100 MB of zeros in one small chunk arrive in parts, so a limit can act before all are in memory."""
    pieces = list(map(len, Decoder("gzip").add(gzip.compress(bytes(100_000_000)))))

    assert sum(pieces) == 100_000_000
    assert max(pieces) < 8_000_000


@pytest.mark.parametrize("kind", ["lz4", "zstd", "gzip", "deflate", "br"])
def test_a_body_that_is_not_of_its_kind_is_the_clients_error(kind: str) -> None:
    """Garbage and unknown encodings are refused, not raised as ours."""
    with pytest.raises(QueryError):
        list(Decoder(kind).add(b"this is no frame at all"))
