"""The pair that the start page shows: the demo's clip as `hime enhance --compare` makes it, and a picture of it.

    python -m benchmarks.show_pair [--weights small-x4-call]

Writes client_web/src/show/pair.webm (plainly enlarged left, enhanced right), poster.jpg (half of each) and face.json:
where the face is at every fifth frame, as fractions of the picture's width: its centre and its side.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.demo_clip import AWAY, BACK, CLOSE, FAR, FPS, OVER, headshot
from hime_core.commands import enhance
from server.demo.command import CLIP

OUT = Path("client_web/src/show")
FIRST = round((CLOSE - 2) * FPS)  # two seconds of being close are enough here
LAST = round((CLOSE + AWAY + FAR + BACK) * FPS)
WIDTH, HEIGHT = 1280, 720  # of one picture as it is enhanced
LEFT, TOP, CUT = 160, 8, (960, 540)  # what is shown of it: the person, without the table
POSTER = round((CLOSE + AWAY + 3.2) * FPS)
EVERY = 5  # frames
QUALITY = {"crf": "36", "b": "0", "deadline": "good", "cpu-used": "1", "row-mt": "1", "g": "400"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="small-x4-call")
    weights: str = parser.parse_args().weights
    with tempfile.TemporaryDirectory() as folder:
        compared = Path(folder) / "compared.mp4"
        enhance(CLIP, compared, exemplars=None, layout="upscale", compare=True, weights=weights, as_json=False)
        with av.open(str(OUT / "pair.webm"), "w") as out:
            video = out.add_stream("libvpx-vp9", rate=FPS, options=QUALITY)
            video.width, video.height, video.pix_fmt = 2 * CUT[0], CUT[1], "yuv420p"
            for number, (plain, enhanced) in enumerate(pairs(compared)):
                if number == POSTER:
                    half = CUT[0] // 2
                    poster = np.concatenate([plain[:, :half], enhanced[:, half:]], axis=1)
                    Image.fromarray(poster).save(OUT / "poster.jpg", quality=82, optimize=True, progressive=True)
                if FIRST <= number < LAST:
                    frame = av.VideoFrame.from_ndarray(np.concatenate([plain, enhanced], axis=1), "rgb24")
                    frame.pts, frame.time_base = number - FIRST, Fraction(1, FPS)
                    out.mux(video.encode(frame))
            out.mux(video.encode())
    (OUT / "face.json").write_text(json.dumps({"fps": FPS / EVERY, "faces": faces()}) + "\n")
    for name in ("pair.webm", "poster.jpg"):
        print(f"{OUT / name}: {(OUT / name).stat().st_size / 1000:.0f} kB")


def faces() -> list[list[float]]:
    found = []
    for number in range(FIRST, LAST, EVERY):
        x, y, side = (pixels * OVER for pixels in headshot(number / FPS))
        found.append([round(pixels / CUT[0], 4) for pixels in (x - LEFT, y - TOP, side)])
    return found


def pairs(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What is shown of each frame, plain and enhanced: RGB uint8 (540, 960, 3)."""
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24")
            cut = rgb[TOP : TOP + CUT[1]]
            yield tuple(np.ascontiguousarray(cut[:, x : x + CUT[0]]) for x in (LEFT, WIDTH + LEFT))  # type: ignore[misc]


if __name__ == "__main__":
    main()
