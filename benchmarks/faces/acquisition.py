"""After how many seconds a far face is found in a large frame, and what a detection costs.

    python -m benchmarks.faces.acquisition CLIPS_DIR [--clips NAMES] [--kbits 1500] [--json OUT.json]

Each clip is reduced to headshots of 40, 56 and 72 px and laid into 1280x720 and 1920x1080 frames of a picture with a
camera's grain, at a place drawn for each; with --kbits the frames go through VP8. The person is there when the call
begins (`start`), or comes after 2.4 seconds of the empty room (`comes`). Rows: `copies`, only copies 320 and, at each
third scan, 640 pixels wide are searched, at the same calls; `tiles`, the frame's own scale as well. s: seconds from
when the face shows to when it is known, mean and longest of those found within four seconds; processor time while the
face is not known and, after that, with it known: ms, mean and most, of a detection that searches, and the load on one
processor; wrong: faces found elsewhere.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from benchmarks.faces.flicker import through_vp8
from benchmarks.shared.people import person_of
from benchmarks.shared.portrait import FPS as CODED_FPS
from benchmarks.shared.portrait import Person
from hime_core.faces.detector import COPY_WIDTH, Detection, MtcnnDetector, ScanningDetector
from hime_core.faces.geometry import Box
from hime_core.faces.watch import FaceWatch
from hime_core.video.picture import Picture

SIZES = ((1280, 720), (1920, 1080))
SIDES = (40, 56, 72)
FPS = 25
EMPTY = 60  # frames of the room before somebody comes, and up to four more
WITHIN = 4 * FPS  # frames in which a face is to be found
EVERY = 5  # frames between detections
RESTED = 1e-3  # seconds: calls that took less searched nothing


class Copies(ScanningDetector):
    """Searches copies of the frame 320 and, at each third scan, 640 pixels wide, and no tiles."""

    def __init__(self, detector: MtcnnDetector) -> None:
        super().__init__(detector)
        self._scans = 0

    def _scan(self, rgb: np.ndarray) -> list[Box]:
        self._scans += 1
        width = COPY_WIDTH * (1 if self._scans % 3 else 2)
        scale = width / rgb.shape[1]
        copy = cv2.resize(rgb, (width, round(rgb.shape[0] * scale)), interpolation=cv2.INTER_AREA)
        return [face.moved(1 / scale, 0, 0).box for face in self.detector.detect(copy)]

    def _scan_tiles(self, rgb: np.ndarray, known: list[Box]) -> list[Box]:
        return []


class Timed:
    """A detector that notes how long each call takes."""

    def __init__(self, detector: ScanningDetector) -> None:
        self._detector = detector
        self.calls: list[tuple[bool, float]] = []  # whether a face was known; seconds of processor time

    def detect(self, rgb: np.ndarray, last: tuple[Box, ...] = ()) -> list[Detection]:
        start = time.process_time()
        found = self._detector.detect(rgb, last)
        self.calls.append((bool(last), time.process_time() - start))
        return found


def room(size: tuple[int, int], random: np.random.Generator) -> list[np.ndarray]:
    """A few frames (height, width, 3) of an empty room: still, but for its grain."""
    parts = [cv2.resize(picture, (size[0] // 2, size[1])) for picture in (data.coffee(), data.chelsea())]
    still = np.concatenate(parts, 1).astype(np.float32)
    grain = (random.normal(0, 3, still.shape) for _ in range(4))
    return [np.clip(still + noise, 0, 255).astype(np.uint8) for noise in grain]


def frames(person: Person, side: int, rooms: list[np.ndarray], place: tuple[int, int], empty: int) -> Iterator[Picture]:
    """The person's headshot `side` pixels large and centred at `place`, after some empty frames."""
    cx, cy, own = person.headshot
    scale = side / own
    height, width = rooms[0].shape[:2]
    x, y = round(place[0] - cx * scale), round(place[1] - cy * scale)
    for number in range(empty + WITHIN):
        frame = rooms[number % len(rooms)].copy()
        if number >= empty:
            picture = person.pictures[(number - empty) % len(person.pictures)]
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            part = small[max(0, -y) : height - y, max(0, -x) : width - x]
            frame[max(0, y) :, max(0, x) :][: part.shape[0], : part.shape[1]] = part
        yield Picture.from_rgb(frame)


def acquired(
    scanning: ScanningDetector, pictures: list[Picture], place: tuple[int, int], side: int, empty: int
) -> dict:
    """Plays the pictures until the face has been known for a second."""
    detector = Timed(scanning)
    watch = FaceWatch(detector, EVERY, in_step=True)
    known_at, wrong = None, set()
    for number, picture in enumerate(pictures):
        for face in watch.update(picture.rgb, picture.y):
            if number >= empty and np.hypot(*np.subtract(face.box.centre, place)) < side / 2:
                known_at = number if known_at is None else known_at
            else:
                wrong.add(face.track)
        if known_at is not None and number > known_at + FPS:
            break
    searching, knowing = ([seconds for known, seconds in detector.calls if known == state] for state in (False, True))
    seconds = None if known_at is None else (known_at - empty) / FPS
    return {"seconds": seconds, "wrong": len(wrong), "searching": searching, "knowing": knowing}


def show(found: dict[tuple, list[dict]]) -> None:
    print("    frame  px face  search   found     s longest |  ms most  load | known: ms most  load | wrong")
    for key, rows in found.items():
        times = [row["seconds"] for row in rows if row["seconds"] is not None]
        line = "{:>9} {:>3} {:5} {:7}".format(*key) + f" {len(times):>3}/{len(rows):<3}"
        line += f" {np.mean(times):5.2f} {max(times):7.2f}" if times else "     -       -"
        for state in ("searching", "knowing"):
            calls = np.array([seconds for row in rows for seconds in row[state]])
            busy = calls[calls > RESTED]
            cost = f"{1e3 * busy.mean():4.0f} {1e3 * busy.max():4.0f}" if len(busy) else "   -    -"
            line += f" | {cost} {calls.mean() * FPS / EVERY:5.1%}" if len(calls) else " |    -    -     -"
        print(line, f"| {sum(row['wrong'] for row in rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--clips", help="names to begin with, with commas between [default: all]")
    parser.add_argument("--kbits", type=int, help="send the frames through VP8 at so many kbit/s [default: unharmed]")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    mtcnn, random, found = MtcnnDetector(), np.random.default_rng(0), {}
    rooms = {size: room(size, random) for size in SIZES}
    clips = sorted(p for p in options.folder.iterdir() if p.suffix in (".mp4", ".mov", ".mkv"))
    people = [p for path in clips if path.name.startswith(tuple((options.clips or "").split(",")))
              if (p := person_of(path, mtcnn))]  # fmt: skip
    if not people:
        parser.error(f"{options.folder} has no clip that shows a face large enough")
    for person, size, side, how in product(people, SIZES, SIDES, ("start", "comes")):
        place = tuple(int(random.integers(side, length - side)) for length in size)
        empty = EMPTY + int(random.integers(EVERY)) if how == "comes" else 0
        pictures = list(frames(person, side, rooms[size], place, empty))
        if options.kbits:
            pictures = through_vp8(pictures, options.kbits * 1000 * CODED_FPS // FPS)
        for name, scanning in (("copies", Copies(mtcnn)), ("tiles", ScanningDetector(mtcnn))):
            key = (f"{size[0]}x{size[1]}", side, how, name)
            found.setdefault(key, []).append(acquired(scanning, pictures, place, side, empty))
    show(found)
    if options.json:
        options.json.write_text(json.dumps({" ".join(map(str, key)): rows for key, rows in found.items()}, indent=1))


if __name__ == "__main__":
    main()
