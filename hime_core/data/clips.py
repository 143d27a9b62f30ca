"""Clips of people on camera, cut into headshots by the relay's own detector and geometry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.data.headshots import CLIP_SIDE, Person, Shot, encode
from hime_core.data.packed import archive_of, read_pack, write_archive
from hime_core.errors import InputError
from hime_core.faces.detector import Detection, MtcnnDetector, ScanningDetector
from hime_core.faces.geometry import Headshot, crop, headshot_of
from hime_core.faces.quality import sharpness

CLIP_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
FRAMES_PER_SECOND = 30  # of Shot.frame
FEWEST = 8  # headshots of a clip that is kept


@dataclass(frozen=True)
class CutOptions:
    """shots: at most of a clip; smallest, largest: side of a headshot in pixels, larger ones are reduced; sharpest: as
    faces.quality has it, at least; inside: share of the headshot that must lie within the frame."""

    shots: int = 120
    smallest: int = 128
    largest: int = CLIP_SIDE
    sharpest: float = 0.4
    inside: float = 0.55


def clip_files(folder: Path, exclude: Collection[str] = ()) -> list[Path]:
    """The videos of a folder but for those excluded by name, with or without suffix. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; --clips takes one that holds videos of one person each")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in CLIP_SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no videos ({', '.join(CLIP_SUFFIXES)})")
    unknown = [name for name in exclude if all(name not in (path.name, path.stem) for path in files)]
    if unknown:
        raise InputError(f"{folder} holds no clip {unknown[0]}, which was to be excluded; check the name")
    return [path for path in files if path.name not in exclude and path.stem not in exclude]


def read_clips(
    folder: Path,
    exclude: Collection[str] = (),
    cache: Path | None = None,
    options: CutOptions = CutOptions(),
    advance: Callable[[str, int], None] = lambda name, shots: None,
) -> list[Person]:
    """Every clip with enough close, sharp headshots of one face, as a person; `advance` is told of each and its count.

    cache: folder in which each cut clip is kept, so that what was interrupted goes on and nothing is cut twice.
    Clips that cannot be read count as empty. Raises InputError.
    """
    detector = MtcnnDetector()
    people = []
    for path in clip_files(folder, exclude):
        kept = cache and cache / f"{path.stem}-{_key(path, options)}.zip"
        if kept and kept.is_file():
            (person,) = read_pack(kept)
        else:
            person = Person(path.stem, tuple(cut_clip(path, detector, options)), clip=True)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_archive(archive_of([person]), kept)
        advance(path.stem, len(person.shots))
        if len(person.shots) >= FEWEST:
            people.append(person)
    return people


def cut_clip(path: Path, detector: MtcnnDetector, options: CutOptions) -> Iterator[Shot]:
    """The largest face of every k-th frame where it is close, sharp and whole."""
    scanner = ScanningDetector(detector, every=4)
    last: list[Detection] = []
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            seconds = float(container.duration or 0) / av.time_base
            step = max(1 / 15, seconds / options.shots)
            due = 0.0
            for frame in container.decode(video):
                time = frame.time or 0.0
                if time < due - 1e-3:
                    continue
                due = max(due + step, time)
                rgb = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                last = scanner.detect(np.ascontiguousarray(rgb), [face.box for face in last])
                if last:
                    face = max(last, key=lambda found: found.box.height)
                    if shot := _cut(rgb, face, round(time * FRAMES_PER_SECOND), options):
                        yield shot
    except (OSError, IndexError, av.FFmpegError):
        return


def _cut(rgb: Array, face: Detection, frame: int, options: CutOptions) -> Shot | None:
    headshot = headshot_of(face.box)
    side = round(headshot.side)
    if side < options.smallest or _inside(headshot, *rgb.shape[1::-1]) < options.inside:
        return None
    x, y = round(headshot.cx - side / 2), round(headshot.cy - side / 2)
    picture = crop(rgb, x, y, side)
    if sharpness(picture) < options.sharpest:
        return None
    if side > options.largest:
        picture = cv2.resize(picture, (options.largest, options.largest), interpolation=cv2.INTER_AREA)
    landmarks = ((face.landmarks + 0.5 - (x, y)) / side).astype(np.float32)
    return Shot(encode(picture), landmarks, frame, picture.shape[0])


def _inside(headshot: Headshot, width: int, height: int) -> float:
    half = headshot.side / 2
    across = min(headshot.cx + half, width) - max(headshot.cx - half, 0)
    down = min(headshot.cy + half, height) - max(headshot.cy - half, 0)
    return max(0.0, across) * max(0.0, down) / headshot.side**2


def _key(path: Path, options: CutOptions) -> str:
    """Changes with the file and with how it is cut."""
    import hashlib

    stat = path.stat()
    return hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns} {options}".encode()).hexdigest()[:12]
