"""Key frames to small grey pictures, by PyAV."""

import av
import numpy as np
from av.error import FFmpegError

from producers.cameras.domain.activity import Luma

_WIDTH, _HEIGHT = 160, 90
# The largest 4K of cameras. A key frame of 8192x4320 took 2.1 s from 100 kB of grey.
_MAX_PIXELS = 4096 * 2304


def decode_key_frame(unit: bytes) -> Luma | None:
    """Return the grey levels of a key frame (Annex B, parameter sets included), about 160x90.

    None when it cannot be decoded: one torn picture is nobody's business.
    """
    codec = av.CodecContext.create("h264", "r")
    codec.thread_count = 1
    codec.options = {"max_pixels": str(_MAX_PIXELS)}
    try:
        frames = [*codec.decode(av.Packet(unit)), *codec.decode(None)]
    except FFmpegError:
        return None
    if not frames:
        return None
    frame = frames[0]
    # The luma plane as it lies in memory: converting to grey would cost more than decoding.
    plane = frame.planes[0]
    luma: Luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    small: Luma = luma[:: max(1, plane.height // _HEIGHT), : plane.width : max(1, plane.width // _WIDTH)].copy()
    return small
