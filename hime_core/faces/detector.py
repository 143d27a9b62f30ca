"""Face detection: MTCNN, and the schedule that makes it cheap enough for a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
import torch
from torchvision.ops import nms, roi_align

from hime_core.arrays import F32, Array
from hime_core.faces.geometry import Box, crop, iou
from hime_core.faces.mtcnn import Networks, OwnNetworks
from hime_core.faces.tiles import Turns
from hime_core.threads import one_thread

SMALLEST_IMAGE = 24
PYRAMID_STEP = 0.709
COPY_WIDTH = 320
LARGE = 640  # pixels: in frames with a longer side, far faces need several calls to be found, so that none may rest
FAR_FACE = 24  # pixels, in a tile: this one size of P-Net finds faces of 20 to 48
IDLE = 3  # times fewer searches while there is no face
WINDOW = 112  # 2.5 faces: a face of 45 pixels, close to what MTCNN's last network takes
KEEP_SCORE = 0.7  # a known face may score lower than a new one: it turns away or blurs
SAME_FACE = 0.3
STAYED = 0.6


@dataclass(frozen=True, eq=False)
class Detection:
    """A face: box in pixels, landmarks (5, 2) float32 (eyes, nose, mouth corners; left to right), score 0..1."""

    box: Box
    landmarks: F32
    score: float

    def moved(self, scale: float, x: float, y: float) -> Detection:
        """The same face in an image where pixel p of this one lies at scale * (p + 0.5) - 0.5 + (x, y)."""
        shift = (scale - 1) / 2
        box = Box(self.box.x * scale + x, self.box.y * scale + y, self.box.width * scale, self.box.height * scale)
        landmarks = self.landmarks * scale + np.array([x + shift, y + shift], np.float32)
        return replace(self, box=box, landmarks=landmarks.astype(np.float32))


class Detector(Protocol):
    def detect(self, rgb: Array) -> list[Detection]:
        """Faces in a (height, width, 3) uint8 image, best score first; blocking, called from worker threads."""
        ...


class StreamDetector(Protocol):
    """A detector that knows where one stream's faces were; ScanningDetector is one."""

    def for_stream(self) -> StreamDetector:
        """Another one over the same networks, for another stream."""
        ...

    def detect(self, rgb: Array, last: Sequence[Box] = ()) -> list[Detection]:
        """Faces in a (height, width, 3) uint8 frame; `last`: where they are thought to be. One thread at a time."""
        ...


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016): the cascade around its three networks.

    It is our own: candidates per stage are bounded, crops are taken at sub-pixel positions, and the networks run in
    channels-last order, which together takes a quarter of the time. It keeps no state between calls, so one instance
    serves all threads. networks: its own on the CPU unless given.
    """

    def __init__(
        self,
        min_face: float = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.95),
        networks: Networks | None = None,
    ) -> None:
        self._networks = networks or OwnNetworks()
        self._min_face = min_face
        self._thresholds = thresholds

    def detect(
        self,
        rgb: Array,
        min_face: float | None = None,
        max_face: float = float("inf"),
        candidates: int = 64,
    ) -> list[Detection]:
        """Faces of about min_face to max_face pixels, best score first; `candidates`: at most so many are looked at."""
        if min(rgb.shape[:2]) < SMALLEST_IMAGE:
            return []
        with torch.inference_mode(), one_thread():
            image = _normalised(rgb)
            boxes = self._propose(rgb, min_face or self._min_face, max_face, candidates)
            boxes = self._refine(image, boxes)
            return self._decide(image, boxes[: max(4, candidates // 4)])

    def refine(self, rgb: Array, box: Box) -> Detection | None:
        """The face that `box` shows to within about a tenth of its size, by the third network alone, or None.

        The mean over three sizes of crop: steadier than one.
        """
        if min(rgb.shape[:2]) < SMALLEST_IMAGE:
            return None
        centre, half = torch.tensor(box.centre), max(box.width, box.height) / 2
        crops = torch.stack([torch.cat([centre - half * size, centre + half * size]) for size in (0.9, 1.0, 1.12)])
        with torch.inference_mode(), one_thread():
            boxes, landmarks, scores = self._judge(_normalised(rgb), crops)
            if scores.mean() < KEEP_SCORE:
                return None
            return _detection(boxes.mean(0), landmarks.mean(0), scores.mean())

    def _propose(self, rgb: Array, min_face: float, max_face: float, limit: int) -> torch.Tensor:
        height, width = rgb.shape[:2]
        scales, pictures = list[float](), list[torch.Tensor]()
        scale = 12 / min_face
        while min(height, width) * scale >= 12 and 12 / scale <= max_face:
            size = (int(width * scale + 1), int(height * scale + 1))
            pictures.append(_normalised(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)))
            scales.append(scale)
            scale *= PYRAMID_STEP
        found = []
        for scale, (offsets, scores) in zip(scales, self._networks.propose(pictures), strict=True):
            offsets, scores = offsets[0], scores[0, 1]
            row, column = torch.nonzero(scores > self._thresholds[0], as_tuple=True)
            cells = torch.stack([column, row, column, row], 1) * 2
            cells = (cells + torch.tensor([1, 1, 12, 12])) / scale
            score = scores[row, column]
            keep = nms(cells, score, 0.5)
            boxes = _adjusted(cells[keep], offsets[:, row, column].T[keep])
            found.append(torch.cat([boxes, score[keep, None]], 1))
        boxes = torch.cat(found) if found else torch.empty(0, 5)
        boxes = boxes[nms(boxes[:, :4], boxes[:, 4], 0.7)]
        return _square(boxes[:limit, :4])

    def _refine(self, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        if not len(boxes):
            return boxes
        offsets, scores = self._networks.refine(_crops(image, boxes, 24))
        kept = scores[:, 1] > self._thresholds[1]
        boxes, offsets, scores = boxes[kept], offsets[kept], scores[kept, 1]
        keep = nms(boxes, scores, 0.7)
        return _square(_adjusted(boxes[keep], offsets[keep]))

    def _decide(self, image: torch.Tensor, boxes: torch.Tensor) -> list[Detection]:
        if not len(boxes):
            return []
        boxes, landmarks, scores = self._judge(image, boxes)
        order = [i for i in scores.argsort(descending=True).tolist() if scores[i] > self._thresholds[2]]
        return distinct([_detection(boxes[i], landmarks[i], scores[i]) for i in order])

    def _judge(self, image: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The third network: boxes (N, 4), landmarks (N, 5, 2) and scores (N,)."""
        offsets, points, scores = self._networks.judge(_crops(image, boxes, 48))
        corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        landmarks = corner + points.reshape(-1, 2, 5).permute(0, 2, 1) * size - 0.5
        return _adjusted(boxes, offsets), landmarks, scores[:, 1]


def _detection(box: torch.Tensor, landmarks: torch.Tensor, score: torch.Tensor) -> Detection:
    left, top, right, bottom = box.tolist()
    return Detection(Box(left, top, right - left, bottom - top), landmarks.numpy().astype(np.float32), float(score))


class ScanningDetector:
    """Decides what part of a frame to search, for one stream.

    Known faces are looked up where they were, which costs a few milliseconds each. New ones are found in a copy of the
    whole frame 320 pixels wide, now and then while faces are known, else often; and far ones, which that copy does not
    show, in tiles at the frame's own scale and at halves of it, a few at a time. Every face is measured in a window
    that brings it to one size, so its box does not depend on what found it.
    """

    def __init__(self, detector: MtcnnDetector | None = None, every: int = 6) -> None:
        """every: calls between whole scans while faces are known."""
        self.detector = detector or MtcnnDetector()
        self._every = every
        self._since = max(every, IDLE)  # calls since the whole frame was searched; the first one does it
        self._turns = Turns()

    def for_stream(self) -> ScanningDetector:
        """Another schedule over the same networks: one per stream."""
        return ScanningDetector(self.detector, self._every)

    def detect(self, rgb: Array, last: Sequence[Box] = ()) -> list[Detection]:
        """Faces in a (height, width, 3) uint8 frame; `last`: where they are thought to be. One thread at a time.

        In frames with a side of more than 640 pixels, every tile is searched within ten calls.
        """
        known = [self._look(rgb, box) for box in last]
        found = distinct([face for face in known if face])
        large = max(rgb.shape[:2]) > LARGE
        rest = self._every if last else IDLE if large else 1
        self._since += 1
        whole = self._since >= rest or len(found) < len(last)
        self._since = 0 if whole else self._since
        boxes = self._scan(rgb) if whole else []
        if whole or large:
            boxes += self._scan_tiles(rgb, [face.box for face in found])
        for box in boxes:
            if all(iou(box, face.box) < SAME_FACE for face in found):
                found += [face] if (face := self._search(rgb, box)) else []
        return distinct(found)

    def _scan(self, rgb: Array) -> list[Box]:
        height, width = rgb.shape[:2]
        scale = min(1.0, COPY_WIDTH / width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        copy = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        return [face.moved(width / size[0], 0, 0).box for face in self.detector.detect(copy)]

    def _scan_tiles(self, rgb: Array, known: Sequence[Box]) -> list[Box]:
        return [
            face.moved(tile.scale, tile.x, tile.y).box
            for tile in self._turns.next(rgb, known)
            for face in self.detector.detect(tile.cut(rgb, known), min_face=FAR_FACE, max_face=FAR_FACE)
        ]

    def _look(self, rgb: Array, box: Box) -> Detection | None:
        window, (x, y, scale) = _window(rgb, box)
        inside = Box((box.x - x) / scale, (box.y - y) / scale, box.width / scale, box.height / scale)
        face = self.detector.refine(window, inside)
        if face is None or iou(face.box, inside) < STAYED:
            return self._search(rgb, box)
        return face.moved(scale, x, y)

    def _search(self, rgb: Array, box: Box) -> Detection | None:
        window, (x, y, scale) = _window(rgb, box)
        faces = self.detector.detect(window, min_face=WINDOW / 5, max_face=WINDOW, candidates=16)
        if not faces:
            return None
        best = min(faces, key=lambda face: np.hypot(*np.subtract(face.box.centre, WINDOW / 2)))
        return best.moved(scale, x, y)


def _window(rgb: Array, box: Box) -> tuple[Array, tuple[int, int, float]]:
    """The surroundings of a box brought to WINDOW pixels: the picture, its place (x, y) and scale in the frame."""
    side = max(8, round(2.5 * max(box.width, box.height)))
    x, y = (round(centre - side / 2) for centre in box.centre)
    scale = side / WINDOW
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return cv2.resize(crop(rgb, x, y, side), (WINDOW, WINDOW), interpolation=method), (x, y, scale)


def distinct(detections: Sequence[Detection], overlap: float = 0.4) -> list[Detection]:
    """The detections without those that overlap an earlier one, or lie within one."""
    kept: list[Detection] = []
    for detection in detections:
        if all(iou(detection.box, other.box) < overlap and not _nested(detection.box, other.box) for other in kept):
            kept.append(detection)
    return kept


def _nested(a: Box, b: Box) -> bool:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return max(0.0, width) * max(0.0, height) > 0.7 * min(a.width * a.height, b.width * b.height)


def _normalised(rgb: Array) -> torch.Tensor:
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None]
    return (image.float() - 127.5) / 128


def _crops(image: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    crops: torch.Tensor = roi_align(image, [boxes], size, sampling_ratio=-1, aligned=True)
    return crops.contiguous(memory_format=torch.channels_last)


def _square(boxes: torch.Tensor) -> torch.Tensor:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)


def _adjusted(boxes: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * torch.cat([size, size], 1)
