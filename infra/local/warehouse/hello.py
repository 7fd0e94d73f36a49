"""What clickhouse-go, and with it Grafana's plugin, asks first over HTTP; our answer makes it read plain Native.

It asks for blocks in the framing of a protocol revision, of which the engine knows nothing; told that the server's
revision is 0 it wants none of it (clickhouse-go v2, conn_http.go `queryHello`, lib/proto/block.go `Decode`).
"""

import struct
from collections.abc import Mapping
from typing import Final

_ASKED: Final = "SELECT displayName(), version(), revision(), timezone()"
# Field 1: no overflow row; field 2: bucket -1; end of fields. Then 4 columns and 1 row.
_HEAD: Final = b"\x01\x00\x02" + struct.pack("<i", -1) + b"\x00" + b"\x04\x01"
_SERIALIZATION: Final = b"\x00"  # the type's own
_REVISION: Final = struct.pack("<I", 0)


def is_hello(text: bytes, parameters: Mapping[str, str]) -> bool:
    """Tell whether *text* is that question, asked with a protocol revision."""
    return "client_protocol_version" in parameters and text.decode(errors="replace").strip().rstrip(";") == _ASKED


def hello(version: str, timezone: str) -> bytes:
    """Return the one block of the answer, in the framing that is asked for."""
    columns = (
        ("displayName()", "String", _text("warehouse")),
        ("version()", "String", _text(version)),
        ("revision()", "UInt32", _REVISION),
        ("timezone()", "String", _text(timezone)),
    )
    return _HEAD + b"".join(_text(name) + _text(kind) + _SERIALIZATION + value for name, kind, value in columns)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded  # all are shorter than 128 bytes: their length is one
