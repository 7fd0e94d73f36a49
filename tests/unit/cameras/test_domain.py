"""The rules of a camera's producer."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.domain import activity, liveness
from producers.cameras.domain.activity import ACTIVE_SHARE, Activity
from producers.cameras.domain.backoff import Backoff
from producers.cameras.domain.depacketize import Depacketizer
from producers.cameras.domain.liveness import Limits, Liveness
from producers.cameras.picture import decode_key_frame
from producers.simulator.street import load_clips
from schemas.cameras import CameraStatus, Phase
from tests.builders import NINE

LIMITS = Limits(stalled_after_s=2, offline_after_s=5)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Liveness(since_s=99, frame_s=99.5), CameraStatus.LIVE),
        (Liveness(since_s=0, frame_s=97.5), CameraStatus.STALLED),
        (Liveness(since_s=0, frame_s=94.9), CameraStatus.OFFLINE),
        (Liveness(since_s=98), CameraStatus.STALLED),
        (Liveness(since_s=90), CameraStatus.OFFLINE),
        (Liveness(since_s=90, is_refused=True), CameraStatus.AUTH_FAILED),
    ],
)
def test_a_camera_is_what_its_frames_say(known: Liveness, expected: CameraStatus) -> None:
    """State follows from when the last frame came and whether the log-in was refused."""
    assert liveness.status(known, 100.0, LIMITS) is expected


def test_an_outage_opens_once_and_ends_once() -> None:
    """Shorter blips are nobody's business; an outage carries the time of its last frame."""
    known, told = Liveness(since_s=0, frame_s=0.0), []
    for now_s in (1, 4, 6, 7, 20):
        known, opened, ended = liveness.watch(known, now_s, LIMITS)
        told += [("open", opened)] if opened is not None else []
    known = Liveness(since_s=0, frame_s=21.0, outage_s=known.outage_s)
    known, _, ended = liveness.watch(known, 21.5, LIMITS)

    assert told == [("open", 0.0)]
    assert ended == 0.0
    assert liveness.watch(known, 22.0, LIMITS)[1:] == (None, None)


def test_activity_opens_updates_and_ends() -> None:
    """One event from the first change to 5 s without one, updates at most every 5 s, then a cool-down."""
    known, told = Activity(), []
    for n in range(30):
        busy = n <= 6 or n >= 12
        known, step = activity.look(known, 0.01 if busy else 0.0, NINE + timedelta(seconds=2 * n))
        told += [(2 * n, step.phase)] if step else []

    assert told == [
        (0, Phase.OPEN),
        (6, Phase.UPDATE),
        (12, Phase.UPDATE),
        (18, Phase.END),
        (48, Phase.OPEN),
        (54, Phase.UPDATE),
    ]


def test_noise_is_no_activity() -> None:
    """A share of changed pixels at the threshold opens nothing."""
    assert activity.look(Activity(), ACTIVE_SHARE, NINE) == (Activity(), None)


def test_changed_pixels_are_counted_above_the_noise() -> None:
    """Differences up to the threshold do not count, greater ones do, whichever their sign."""
    dark = np.full((10, 10), 100, np.uint8)
    changed = dark.copy()
    changed[0, 0], changed[0, 1], changed[0, 2] = 118, 119, 60

    assert activity.changed_share(dark, changed) == 0.02


@given(failures=st.integers(1, 500), unit=st.floats(0, 1, exclude_max=True))
def test_waits_are_capped_and_spread(failures: int, unit: float) -> None:
    """A wait is between half and the whole of its step, and never longer than the longest."""
    backoff = Backoff(first_s=1, longest_s=60)
    whole = min(60.0, 2.0 ** (failures - 1) if failures < 10 else 60.0)

    assert 0.5 * whole <= backoff.delay_s(failures, unit) <= whole


def packets(clip: str, frames: int) -> list[bytes]:
    """Return the first *frames* frames of a clip as RTP packets."""
    found, sequence = [], 65_530
    for n, payloads in enumerate(load_clips()[clip].frames[:frames]):
        for k, payload in enumerate(payloads):
            marker = 0x80 if k == len(payloads) - 1 else 0
            found.append(
                bytes([0x80, 96 | marker]) + sequence.to_bytes(2) + (n * 7500).to_bytes(4) + bytes(4) + payload
            )
            sequence = (sequence + 1) & 0xFFFF
    return found


def test_key_frames_come_out_whole_and_decodable() -> None:
    """Every frame is one unit; key frames carry their bytes, across the wrap of the sequence number."""
    stream = Depacketizer()

    units = [unit for packet in packets("quiet", 49) if (unit := stream.push(packet))]

    assert [n for n, unit in enumerate(units) if unit.is_key] == [0, 24, 48]
    assert stream.lost == 0
    picture = decode_key_frame(units[24].data or b"")
    assert picture is not None
    assert picture.shape == (90, 160)


def test_a_lost_packet_is_counted_and_its_frame_never_decoded() -> None:
    """The unit it belonged to is torn; the next is whole again."""
    sent = packets("quiet", 25)
    stream = Depacketizer()

    units = [unit for packet in [*sent[:3], *sent[4:]] if (unit := stream.push(packet))]

    assert stream.lost == 1
    assert units[0].is_key
    assert units[0].data is None
    assert units[24].data is not None


@given(st.lists(st.binary(max_size=80), max_size=30))
def test_no_bytes_break_the_depacketizer(junk: list[bytes]) -> None:
    """Packets that are not RTP, or whose lengths lie, are counted and change nothing."""
    stream = Depacketizer()
    for packet in junk:
        stream.push(packet)

    assert stream.bad >= sum(len(packet) < 12 or packet[0] >> 6 != 2 for packet in junk)


def test_a_broken_picture_is_no_picture() -> None:
    """Bytes that are no H.264 give None."""
    assert decode_key_frame(b"\x00\x00\x00\x01\x65" + b"\xff" * 200) is None


def test_the_clips_show_what_they_say() -> None:
    """People and crowds are seen in the key frames, an empty street is not; a crowd scores what the policy asks."""
    best = {}
    for kind in ("quiet", "people", "gather", "night"):
        stream, shares, before = Depacketizer(), [0.0], None
        for packet in packets(kind, 16 * 12):
            unit = stream.push(packet)
            if unit is not None and unit.data is not None:
                picture = decode_key_frame(unit.data)
                assert picture is not None
                shares += [activity.changed_share(before, picture)] if before is not None else []
                before = picture
        best[kind] = activity.score(max(shares))

    assert best["quiet"] == 0, best
    assert 0 < best["people"] < 1
    assert best["gather"] >= 0.6 > best["people"]
    assert best["night"] > 0
