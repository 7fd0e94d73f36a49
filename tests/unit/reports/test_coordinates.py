"""Coordinate frames, against vectors that others publish (tests of eviltransform and of wandergis/coordtransform)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.reports.domain.coordinates import Frame, Point, bd09, gcj02, to_wgs84

IN_CHINA = st.tuples(st.floats(73.5, 134.7), st.floats(18.2, 53.5))


@pytest.mark.parametrize(
    ("wgs", "gcj"),
    [
        ((121.5272106, 31.1774276), (121.531541859215, 31.17530398364597)),
        ((113.912316, 22.543847), (113.9171764808363, 22.540796131694766)),
        ((116.377817, 39.911954), (116.38404722455657, 39.91334545536069)),
    ],
)
def test_gcj02_is_the_published_one(wgs: Point, gcj: Point) -> None:
    """Shanghai, Shenzhen, Beijing; to a decimetre and back to a millimetre."""
    assert gcj02(wgs) == pytest.approx(gcj, abs=1e-6)
    assert to_wgs84(gcj02(wgs), Frame.GCJ02) == pytest.approx(wgs, abs=1e-8)


def test_bd09_is_the_published_one() -> None:
    """From GCJ-02 (116.404, 39.915), the Tian'anmen of every example."""
    there = to_wgs84((116.404, 39.915), Frame.GCJ02)

    assert bd09(there) == pytest.approx((116.41036949371029, 39.92133699351021), abs=1e-7)
    assert to_wgs84((116.41036949371029, 39.92133699351021), Frame.BD09) == pytest.approx(there, abs=1e-8)


@given(IN_CHINA)
def test_there_and_back_is_a_millimetre(point: Point) -> None:
    assert to_wgs84(gcj02(point), Frame.GCJ02) == pytest.approx(point, abs=1e-8)
    assert to_wgs84(bd09(point), Frame.BD09) == pytest.approx(point, abs=1e-8)


@given(IN_CHINA)
def test_the_shift_is_hundreds_of_metres(point: Point) -> None:
    """Enough to be in the next grid: a frame that is not converted is wrong, never slightly off."""
    assert max(abs(a - b) for a, b in zip(gcj02(point), point, strict=True)) > 2e-4


def test_outside_china_the_frames_agree() -> None:
    assert gcj02((2.35, 48.85)) == to_wgs84((2.35, 48.85), Frame.GCJ02) == (2.35, 48.85)
