"""Coordinate frames of maps in China, and the way to WGS-84. Pure.

GCJ-02 shifts WGS-84 by up to 700 m; BD-09 shifts GCJ-02 again. Neither is published officially; the
formulas are those of eviltransform (googollee, after the recovered original) and, for BD-09, of
wandergis/coordtransform (π × 3000 / 180 in its waves; eviltransform's π is 40 m off). Both shifts are
undone by iteration, to a millimetre. Longitude comes first, in degrees.
"""

from collections.abc import Callable
from enum import StrEnum
from math import atan2, cos, hypot, pi, radians, sin, sqrt

Point = tuple[float, float]

_AXIS_M, _ECCENTRICITY = 6378245.0, 0.00669342162296594323  # Krasovsky 1940
_BD = pi * 3000.0 / 180.0
_EXACT_DEG = 1e-9  # 0.1 mm
_STEPS = 30
_WEST, _EAST, _SOUTH, _NORTH = 72.004, 137.8347, 0.8293, 55.8271  # outside, GCJ-02 is WGS-84


class Frame(StrEnum):
    """What a source's coordinates mean."""

    WGS84 = "wgs84"  # GPS, Open311
    GCJ02 = "gcj02"  # 高德, 腾讯, WeCom
    BD09 = "bd09"  # 百度


def to_wgs84(point: Point, frame: Frame) -> Point:
    """Return *point* of *frame* in WGS-84."""
    if frame is Frame.WGS84:
        return point
    return _undone(gcj02, point if frame is Frame.GCJ02 else _undone(_bd09_of_gcj02, point))


def gcj02(point: Point) -> Point:
    """Return a point of WGS-84 in GCJ-02."""
    longitude, latitude = point
    if not (_WEST <= longitude <= _EAST and _SOUTH <= latitude <= _NORTH):
        return point
    x, y = longitude - 105.0, latitude - 35.0
    phi = radians(latitude)
    magic = 1 - _ECCENTRICITY * sin(phi) ** 2
    meridian_m = _AXIS_M * (1 - _ECCENTRICITY) / (magic * sqrt(magic)) * pi / 180.0
    parallel_m = _AXIS_M / sqrt(magic) * cos(phi) * pi / 180.0
    return longitude + _east_m(x, y) / parallel_m, latitude + _north_m(x, y) / meridian_m


def bd09(point: Point) -> Point:
    """Return a point of WGS-84 in BD-09."""
    return _bd09_of_gcj02(gcj02(point))


def _bd09_of_gcj02(point: Point) -> Point:
    x, y = point
    radius = hypot(x, y) + 0.00002 * sin(y * _BD)
    angle = atan2(y, x) + 0.000003 * cos(x * _BD)
    return radius * cos(angle) + 0.0065, radius * sin(angle) + 0.006


def _undone(shift: Callable[[Point], Point], target: Point) -> Point:
    """Return the point that *shift* takes to *target*; the shift changes little over its own length."""
    found = target
    for _ in range(_STEPS):
        at = shift(found)
        off = at[0] - target[0], at[1] - target[1]
        found = found[0] - off[0], found[1] - off[1]
        if max(map(abs, off)) < _EXACT_DEG:
            break
    return found


def _waves(value: float) -> float:
    return (20.0 * sin(6.0 * value * pi) + 20.0 * sin(2.0 * value * pi)) * 2.0 / 3.0


def _north_m(x: float, y: float) -> float:
    found = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + _waves(x)
    found += (20.0 * sin(y * pi) + 40.0 * sin(y / 3.0 * pi)) * 2.0 / 3.0
    return found + (160.0 * sin(y / 12.0 * pi) + 320.0 * sin(y / 30.0 * pi)) * 2.0 / 3.0


def _east_m(x: float, y: float) -> float:
    found = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + _waves(x)
    found += (20.0 * sin(x * pi) + 40.0 * sin(x / 3.0 * pi)) * 2.0 / 3.0
    return found + (150.0 * sin(x / 12.0 * pi) + 300.0 * sin(x / 30.0 * pi)) * 2.0 / 3.0
