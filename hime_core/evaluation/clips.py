"""What references are worth on clips: headshots and references cut as in a call, references from frames around."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from hime_core.arrays import Array
from hime_core.engine import FaceRequest
from hime_core.errors import InputError
from hime_core.evaluation.evaluate import infer
from hime_core.evaluation.metrics import Figures, Meter, mean_figures
from hime_core.exemplars.exemplar import Exemplar, cut_exemplar
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.detector import Detection, MtcnnDetector
from hime_core.faces.geometry import crop, headshot_of
from hime_core.model.hime import Hime

TARGET_EVERY = 30  # frames
MAX_TARGETS = 12
NEAR = 30  # frames between a target and the nearest of its own references
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
Face = tuple[Array, Detection]  # a frame, RGB uint8 (H, W, 3), and the largest face in it


@dataclass(frozen=True, eq=False)
class Target:
    """truth: uint8 (s*L, s*L, 3); lr: uint8 (L, L, 3); landmarks (5, 2) in LR pixels."""

    index: int
    truth: Array
    lr: Array
    landmarks: Array


def clips_in(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """The videos in a folder, those whose names begin with one of `only` where given. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; --clips takes one that holds videos ({', '.join(SUFFIXES)})")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    chosen = [p for p in found if not only or p.name.startswith(tuple(only))]
    if not chosen:
        raise InputError(f"{folder} holds no such videos; it must hold {', '.join(SUFFIXES)} files")
    return chosen


class LandmarksOnly(ReferenceCutter):
    """References laid over by their landmarks and left there: what flow adds is missing."""

    def _register(self, cut: Array, lr_luma: Array) -> Array:
        return cut


class ClipEvaluation:
    """Every 30th frame with a face is a target: its headshot is the truth at (scale x L)^2 by BOX, the network gets
    Pillow's BICUBIC of it at L^2. References are frames of the same clip, cut, laid over and registered as in a call.
    """

    def __init__(
        self,
        model: Hime,
        lr_side: int,
        meter: Meter | None = None,
        detector: MtcnnDetector | None = None,
        cutter: ReferenceCutter | None = None,
    ) -> None:
        self._model, self._lr_side, self._meter = model.eval(), lr_side, meter or Meter()
        self._detector = detector or MtcnnDetector()
        self._cutter = cutter or ReferenceCutter(model.config.scale)

    def gaps(self, clip: Path, gaps: Sequence[int]) -> tuple[dict[str, Figures], int]:
        """Table 5: by name ("bicubic", "blank", and each gap, its references that many frames before and after), the
        means over all targets that have references at every gap; and how many targets there were."""
        faces = self._faces(clip, {sign * gap for gap in gaps for sign in (-1, 1)})
        rows = []
        for target in self._targets(faces):
            near = {str(gap): [i for i in (target.index - gap, target.index + gap) if i in faces] for gap in gaps}
            if all(near.values()):
                settings = {name: [_exemplar(faces[i], i) for i in found] for name, found in near.items()}
                rows.append(self._measure(target, {"blank": [], **settings}))
        return _means(rows), len(rows)

    def counts(self, clip: Path, other: Path) -> tuple[dict[str, Figures], int]:
        """What references give: "bicubic", "0" (no reference branch), "blank", "1" and "3" (frames of the clip, the
        nearest first), "wrong" (three frames of another person's clip); and how many targets there were."""
        steps = (-NEAR, NEAR, -2 * NEAR, 2 * NEAR)
        faces = self._faces(clip, set(steps))
        foreign = [_exemplar(face, i) for i, face in self._faces(other, set()).items()][:3]
        rows = []
        for target in self._targets(faces):
            own = [_exemplar(faces[target.index + s], target.index + s) for s in steps if target.index + s in faces][:3]
            if len(own) == 3 and len(foreign) == 3:
                settings = {"0": None, "blank": [], "1": own[:1], "3": own, "wrong": foreign}
                rows.append(self._measure(target, settings))
        return _means(rows), len(rows)

    def _measure(self, target: Target, settings: Mapping[str, list[Exemplar] | None]) -> dict[str, Figures]:
        side = target.truth.shape[0]
        small = Image.fromarray(target.lr)
        pictures = {"bicubic": np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))}
        for name, exemplars in settings.items():
            references = None
            if exemplars is not None:
                request = FaceRequest(target.lr, target.landmarks, tuple(exemplars))
                references = self._cutter.references(request)
            pictures[name] = infer(self._model, target.lr, references)
        return self._meter.measure(pictures, target.truth)

    def _faces(self, clip: Path, steps: Iterable[int]) -> dict[int, Face]:
        """Faces of the frames that may be targets, and of those the given numbers of frames away from them."""
        try:
            with av.open(str(clip)) as container:
                length = sum(1 for packet in container.demux(video=0) if packet.size)
            targets = range(0, length, TARGET_EVERY)[:MAX_TARGETS]
            wanted = {i for t in targets for i in (t, *(t + s for s in steps)) if 0 <= i < length}
            return faces_of(clip, self._detector, wanted) if wanted else {}
        except (av.FFmpegError, IndexError) as error:
            raise InputError(f"{clip} is not a readable video: {error}") from error

    def _targets(self, faces: dict[int, Face]) -> Iterable[Target]:
        for index in range(0, TARGET_EVERY * MAX_TARGETS, TARGET_EVERY):
            if index in faces:
                target = target_of(index, faces[index], self._lr_side, self._model.config.scale)
                if target is not None:
                    yield target


def faces_of(clip: Path, detector: MtcnnDetector, wanted: set[int]) -> dict[int, Face]:
    """The wanted frames that show a face, with the largest one."""
    found = {}
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index > max(wanted):
                break
            if index not in wanted:
                continue
            rgb = frame.to_ndarray(format="rgb24")
            scale = min(1.0, 480 / max(rgb.shape[:2]))
            small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            faces = detector.detect(small, min_face=40)
            if faces:
                largest = max(faces, key=lambda f: f.box.height)
                found[index] = (rgb, largest.moved(rgb.shape[1] / small.shape[1], 0, 0))
    return found


def target_of(index: int, face: Face, lr_side: int, scale: int) -> Target | None:
    """None where the face is smaller than the truth must be."""
    rgb, detection = face
    headshot = headshot_of(detection.box)
    side = round(headshot.side)
    if side < scale * lr_side:
        return None
    x, y = round(headshot.cx - side / 2), round(headshot.cy - side / 2)
    hr = Image.fromarray(crop(rgb, x, y, side)).resize((scale * lr_side, scale * lr_side), Image.Resampling.BOX)
    lr = hr.resize((lr_side, lr_side), Image.Resampling.BICUBIC)
    landmarks = (detection.landmarks - (x, y) + 0.5) * (lr_side / side) - 0.5
    return Target(index, np.asarray(hr), np.asarray(lr), landmarks.astype(np.float32))


def _exemplar(face: Face, index: int) -> Exemplar:
    rgb, detection = face
    return cut_exemplar(rgb, detection.box, detection.landmarks, str(index), "call", index, 0.0)


def _means(rows: list[dict[str, Figures]]) -> dict[str, Figures]:
    return {name: mean_figures([row[name] for row in rows]) for name in rows[0]} if rows else {}
