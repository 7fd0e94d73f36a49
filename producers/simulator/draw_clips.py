"""Draws the four clips of the demo cameras: `python -m producers.simulator.draw_clips`.

    quiet   an empty street, a little sensor noise
    people  two persons cross between 4 s and 9 s
    gather  from 2 s on one more person every second joins a crowd
    night   infrared: grey and dark; somebody passes between 6 s and 8 s

Deterministic (seeded numpy, single-threaded x264). 640x360, 12 frames/s, a key frame every
2 s, no B-frames: what a village camera's sub-stream looks like. The figures are boxes: good
enough for motion, no detector takes them for people. `truth.json` says what happens when.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

CLIPS = Path(__file__).parent / "clips"
WIDTH, HEIGHT, FPS, GOP, SECONDS = 640, 360, 12, 24, 16

Image = NDArray[np.float32]


def street(rng: np.random.Generator) -> Image:
    """Return an empty village street by day."""
    yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    image = np.empty((HEIGHT, WIDTH, 3), np.float32)
    image[:] = (150, 120, 85)
    image[yy < HEIGHT * 0.35] = (150, 190, 235)
    image += (8 * np.sin(xx / 17) + 8 * np.cos(yy / 11 + xx / 29))[..., None]
    texture = rng.normal(0, 10, (HEIGHT // 4, WIDTH // 4, 3)).repeat(4, 0).repeat(4, 1)
    image += texture.astype(np.float32)
    for left, right, colour in ((0.05, 0.25, (170, 60, 50)), (0.55, 0.8, (200, 190, 120))):
        image[int(HEIGHT * 0.2) : int(HEIGHT * 0.55), int(WIDTH * left) : int(WIDTH * right)] = colour
    return image


def infrared(image: Image) -> Image:
    """Return *image* as an infrared camera sees it at night."""
    return np.repeat((image.mean(2) * 0.45 + 20)[..., None], 3, axis=2)


def person(image: Image, x: float, y: float, size: int, colour: tuple[int, int, int]) -> None:
    """Draw a standing figure whose feet are at (*x*, *y*) pixels."""
    for left, right, top, bottom, paint in (
        (-8, 8, 1.0, 0.8, (190, 140, 110)),
        (-5, 5, 0.8, 0.4, colour),
        (-6, 6, 0.4, 0.0, (50, 50, 70)),
    ):
        rows = slice(max(0, int(y - size * top)), max(0, int(y - size * bottom)))
        columns = slice(max(0, int(x + size / left)), max(0, int(x + size / right)))
        image[rows, columns] = paint


def populate(kind: str, image: Image, t: float) -> int:
    """Draw whoever is there at second *t* and return how many."""
    if kind == "people" and 4 <= t < 9:
        for n in range(2):
            person(image, (0.1 + 0.16 * (t - 4) + 0.12 * n) * WIDTH, HEIGHT * 0.9, 64, (60, 60, 200))
        return 2
    if kind == "gather" and t >= 2:
        count = min(10, int(t - 1))
        for n in range(count):
            x = 0.12 + 0.075 * n + 0.02 * np.sin(1.3 * t + n)
            person(image, x * WIDTH, HEIGHT * (0.85 + 0.01 * (n % 3)), 120, (40 + 20 * n, 90, 120))
        return count
    if kind == "night" and 6 <= t < 8:
        person(image, (0.2 + 0.3 * (t - 6)) * WIDTH, HEIGHT * 0.9, 110, (170, 170, 170))
        return 1
    return 0


def draw(kind: str) -> list[int]:
    """Write `<kind>.mp4` and return how many people each second shows at most."""
    rng = np.random.default_rng(7)
    empty = infrared(street(rng)) if kind == "night" else street(rng)
    noise = [rng.normal(0, 2, (HEIGHT // 2, WIDTH // 2)).repeat(2, 0).repeat(2, 1)[..., None] for _ in range(7)]
    counts: list[int] = []
    with av.open(str(CLIPS / f"{kind}.mp4"), "w") as out:
        stream: Any = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "preset": "slow",
            "crf": "30",
            "tune": "zerolatency",
            "x264-params": f"keyint={GOP}:scenecut=0:threads=1:sliced-threads=0",
        }
        for n in range(FPS * SECONDS):
            image = empty.copy()
            counts.append(populate(kind, image, n / FPS))
            pixels = np.clip(image + noise[n % 7], 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return [max(counts[s * FPS : (s + 1) * FPS]) for s in range(SECONDS)]


def main() -> None:
    """Draw every clip and write down what is in it."""
    CLIPS.mkdir(exist_ok=True)
    truth = {kind: draw(kind) for kind in ("quiet", "people", "gather", "night")}
    (CLIPS / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    main()
