"""GeoJSON (RFC 7946) as far as a district's map needs it: features with one polygon, or none.

A ring in our structs does not repeat its first corner; on file it does, and outer rings run
counter-clockwise (RFC 7946, 3.1.6). Rings that run the other way are read all the same.
"""

from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from schemas.errors import RecordError
from schemas.fields import Latitude, Longitude

Position = tuple[Longitude, Latitude]


_Rings = Annotated[list[Annotated[list[Position], Meta(min_length=4)]], Meta(min_length=1)]


class Polygon(Struct, frozen=True, kw_only=True, tag_field="type"):
    """The geometry that is written."""

    coordinates: _Rings


class MultiPolygon(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What GIS programs make of every polygon; taken when it has one part."""

    coordinates: list[_Rings]


class Feature(Struct, frozen=True, kw_only=True):
    """One feature as it stands on file."""

    type: Literal["Feature"] = "Feature"
    id: str | int | None = None
    properties: dict[str, Any] | None = None
    geometry: Polygon | MultiPolygon | None = None

    def ring(self) -> list[Position] | None:
        """Return the corners of its polygon without the repeated first one; None without geometry.

        Raises:
            RecordError: there are several parts or holes, or the ring is open.
        """
        match self.geometry:
            case None:
                return None
            case Polygon(coordinates=(outer, *holes)):
                pass
            case MultiPolygon(coordinates=[(outer, *holes)]):
                pass
            case _:
                raise RecordError("invalid_field", "a grid or place has one part", "geometry.coordinates")
        if holes:
            raise RecordError("invalid_field", "polygons with holes are not taken", "geometry.coordinates")
        if outer[0] != outer[-1]:
            raise RecordError("invalid_field", "the ring does not end where it begins", "geometry.coordinates[0]")
        return outer[:-1]


class _Collection(Struct, frozen=True, kw_only=True):
    type: Literal["FeatureCollection"]
    features: list[Raw]


_feature = msgspec.json.Decoder(Feature)
_BOM: Final = b"\xef\xbb\xbf"


def split(content: bytes) -> list[Raw]:
    """Return the features of a FeatureCollection, none of them looked at yet.

    Raises:
        RecordError: *content* is not JSON, or no FeatureCollection.
    """
    try:
        return msgspec.json.decode(content.removeprefix(_BOM), type=_Collection).features
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError("not_geojson", *_detail(error)) from error


def feature(raw: Raw) -> Feature:
    """Return one feature.

    Raises:
        RecordError: it is not one that is taken; `field` is its JSON path.
    """
    try:
        return _feature.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError("invalid_field", *_detail(error)) from error


def _detail(error: Exception) -> tuple[str, str | None]:
    """Split an error of msgspec into what is wrong and the path of the field."""
    text, _, path = str(error).partition(" - at `$")
    return text, path.rstrip("`").lstrip(".") or None


def dump(features: list[tuple[str, dict[str, Any], list[Position] | None]]) -> bytes:
    """Return a FeatureCollection of (id, properties, ring), one feature a line, so that a diff shows what changed."""
    lines = [msgspec.json.encode(_on_file(*entry)) for entry in features]
    return b'{"type":"FeatureCollection","features":[\n' + b",\n".join(lines) + b"\n]}\n"


def _on_file(ident: str, properties: dict[str, Any], ring: list[Position] | None) -> dict[str, Any]:
    geometry = None if ring is None else {"type": "Polygon", "coordinates": [_closed(ring)]}
    return {"type": "Feature", "id": ident, "properties": properties, "geometry": geometry}


def _closed(ring: list[Position]) -> list[Position]:
    closed = [*ring, ring[0]]
    twice_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(closed))
    return closed if twice_area > 0 else closed[::-1]
