"""`hime pack`: photos and clips, found, reduced and written into one file of a given size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hime_core.data.clips import clip_files, read_clips
from hime_core.data.headshots import (
    CLIP_SIDE,
    PHOTO_SIDE,
    Person,
    Shot,
    count,
    encode,
    read_identities,
    read_photo,
    resize,
)
from hime_core.data.packed import archive_of, read_pack, write_archive
from hime_core.errors import InputError
from hime_core.faces.geometry import CENTRE_ABOVE_BOX, SIDE_PER_BOX_HEIGHT, Box

if TYPE_CHECKING:
    from hime_core.faces.detector import MtcnnDetector

MIB = 1 << 20
# Side and WebP quality, best first.
LADDER = (
    *((CLIP_SIDE, q) for q in (95, 90, 85, 80)), *((256, q) for q in (95, 92, 88, 84, 80, 75, 70)),
    *((s, 75) for s in (224, 192, 160, 128)), (128, 60),
)  # fmt: skip
CLIP_SHARE = 0.4  # of all shots, at most: moments of one clip resemble each other
_SAMPLE = 96  # shots that a size is estimated from


@dataclass(frozen=True)
class Packed:
    """What was written. quality: of WebP, None where every file went in as it was; unreadable: files left out."""

    path: Path
    people: int
    shots: int
    side: int
    quality: int | None
    bytes: int
    unreadable: tuple[str, ...]


def pack(
    data: Path,
    target: Path,
    mib: float,
    clips: Path | None = None,
    exclude: Sequence[str] = (),
    cache: Path | None = None,
    advance: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Packed:
    """Writes the people of `data`, and of the clips, into a file of at most `mib` MiB, whole or not at all.

    Photos get their landmarks, so that training lays references over the face as the relay does. Pictures are reduced
    in quality, then in size, until they fit; moments of clips are thinned out to 40 % of all. `advance` is told the
    stage, how much of it is done, and of how much. Raises InputError.
    """
    if mib <= 0:
        raise InputError(f"{mib:g} MiB hold nothing; give a size above 0")
    if target.is_dir() or not target.parent.is_dir():
        raise InputError(f"{target} cannot be written: give a file in a folder that exists")
    people, unreadable = _photos(data, advance)
    if clips:
        total, done = len(clip_files(clips, exclude)), 0

        def cut(name: str, shots: int) -> None:
            nonlocal done
            done += 1
            advance("clips", done, total)

        people += _thinned(read_clips(clips, exclude, cache, advance=cut), count(people))
    if not people:
        raise InputError(f"{data} holds no readable photo; it must hold <identity>/<photo>.jpg")
    limit = int(mib * MIB)
    for rung in (None, *LADDER):
        if _estimate(people, rung) > limit:
            continue
        packed = people
        if rung:
            packed = []
            for number, person in enumerate(people):
                packed.append(replace(person, shots=tuple(_reduced(shot, *rung) for shot in person.shots)))
                advance("encode", number + 1, len(people))
        archive = archive_of(packed)
        if len(archive) <= limit:
            write_archive(archive, target)
            side, quality = rung or (max(shot.side for person in packed for shot in person.shots), None)
            return Packed(target, len(packed), count(packed), side, quality, len(archive), tuple(unreadable))
    raise InputError(f"{count(people)} headshots do not fit into {mib:g} MiB; give more room, or fewer photos")


def _photos(data: Path, advance: Callable[[str, int, int], None]) -> tuple[list[Person], list[str]]:
    if data.is_file():
        return read_pack(data), []
    from hime_core.faces.detector import MtcnnDetector  # here: to train on a packed file, none is needed

    detector = MtcnnDetector(min_face=PHOTO_SIDE / 5)
    identities = read_identities(data)
    total, done = sum(map(len, identities.values())), 0
    people, unreadable = [], []
    for name, paths in identities.items():
        shots = []
        for path in paths:
            done += 1
            try:
                shots.append(_with_landmarks(read_photo(path), detector))
            except InputError:
                unreadable.append(f"{name}/{path.name}")
            advance("photos", done, total)
        if shots:
            people.append(Person(name, tuple(shots)))
    return people, unreadable


def _with_landmarks(shot: Shot, detector: MtcnnDetector) -> Shot:
    rgb = shot.rgb()
    if isinstance(shot.data, Path):
        shot = replace(shot, data=encode(rgb))
    # A headshot's own face is where its geometry puts it; a search takes ten times as long.
    height = shot.side / SIDE_PER_BOX_HEIGHT
    box = Box(shot.side / 2 - 0.4 * height, shot.side / 2 + (CENTRE_ABOVE_BOX - 0.5) * height, 0.8 * height, height)
    face = detector.refine(rgb, box)
    if face is None:
        faces = detector.detect(rgb, candidates=32)
        if not faces:
            return shot
        face = min(faces, key=lambda found: float(np.hypot(*np.subtract(found.box.centre, shot.side / 2))))
    return replace(shot, landmarks=((face.landmarks + 0.5) / shot.side).astype(np.float32))


def _thinned(clips: list[Person], photos: int) -> list[Person]:
    """At most CLIP_SHARE of all shots, each clip evenly."""
    room = CLIP_SHARE / (1 - CLIP_SHARE) * photos
    every = max(1.0, count(clips) / max(1.0, room))
    return [
        replace(clip, shots=tuple(clip.shots[int(i * every)] for i in range(max(1, int(len(clip.shots) / every)))))
        for clip in clips
    ]


def _reduced(shot: Shot, side: int, quality: int) -> Shot:
    rgb = resize(shot.rgb(), min(side, shot.side))
    return replace(shot, data=encode(rgb, ".webp", quality), side=rgb.shape[0])


def _estimate(people: Sequence[Person], rung: tuple[int, int] | None) -> float:
    """Bytes of the whole, a little too few rather than too many: the archive itself decides."""
    shots = [shot for person in people for shot in person.shots]
    if rung is None:
        return float(sum(len(shot.encoded) for shot in shots))
    chosen = [shots[i] for i in np.linspace(0, len(shots) - 1, min(_SAMPLE, len(shots))).astype(int)]
    return 0.95 * len(shots) * float(np.mean([len(_reduced(shot, *rung).encoded) for shot in chosen]))
