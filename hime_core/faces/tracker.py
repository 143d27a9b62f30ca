"""Faces followed from frame to frame by sparse optical flow, and kept in place by detections that arrive late."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from hime_core.arrays import F32, NOTHING, Array
from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box, crop, iou

FACE = 64  # the size that flow is measured at: a window of two faces is brought to 128 pixels
WINDOW = 2 * FACE
MIN_POINTS = 8
MAX_COASTING = 3  # frames without flow before a track is given up
MAX_MISSES = 3  # detections in a row that do not see the face before a track is given up
SAME_FACE = 0.3
SAME_PICTURE = 0.4
ALIKE = 0.6  # correlation of a face that flow cannot follow, below which it may be another's
JUMP = 0.35  # of the box's height between a track and its detection, from which on it may be another face
HISTORY = 90  # frames: how late a detection may be


@dataclass(frozen=True)
class _Corners:
    """most: that are followed; window: pixels around each that are compared."""

    most: int
    window: int


# A face that is enlarged is noise between its pixels, which wide windows even out; at its own scale or below, narrow
# ones err by a third less, in half of the time.
ENLARGED, REDUCED = _Corners(40, 15), _Corners(32, 11)


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in the current frame. seen: frames since the last detection that confirmed it, 0 if this very frame.
    doubts: how often so far the track may have gone over to another face."""

    track: int
    box: Box
    landmarks: F32
    score: float
    seen: int
    doubts: int = 0


@dataclass(eq=False)
class _Track:
    id: int
    points: Array  # (7, 2): the box's top left and bottom right corner, then the landmarks; pixel centres
    score: float
    confirmed: int  # the frame that the last detection was made on
    pending: Array  # (7, 2): correction still to be applied
    gain: float = 1.0
    misses: int = 0
    coasting: int = 0
    doubts: int = 0
    motion: Array = field(default_factory=lambda: np.eye(3))  # from birth to now
    past: deque[tuple[int, Array, Array]] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def at(self, frame: int) -> tuple[Array, Array] | None:
        """The track's motion and points at a frame, if it lived then."""
        return next(((motion, points) for index, motion, points in reversed(self.past) if index == frame), None)


class FaceTracker:
    """Follows several faces. No threads inside: one caller at a time.

    `update` takes every frame; `correct` takes detections, whenever they are ready. Gray frames are kept until the
    next call and must not be written to.

    Between detections a face moves with the similarity that fits the flow of its corners. A detection is carried to
    the present by the motion of its track since its frame, and pulls the track softly, over a few frames: a single
    detection is noisier than flow over the same time. A track ends when its centre leaves the frame, when flow fails
    and the picture has changed (a cut) or stays lost for some frames, and when several detections in a row miss it.
    """

    def __init__(self) -> None:
        self._frame = 0
        self._gray: Array | None = None
        self._frames: deque[tuple[int, weakref.ref[Array]]] = deque(maxlen=HISTORY)
        self._tracks: list[_Track] = []
        self._next = 1

    def update(self, gray: Array) -> list[TrackedFace]:
        """The known faces in a new frame, (height, width) uint8.

        Its size may change, as senders change it when their uplink or processor is short; another shape starts afresh.
        """
        before, self._gray = self._gray, gray
        self._frame += 1
        if before is not None and before.shape != gray.shape:
            before = self._resized(before, gray.shape)
        self._frames.append((self._frame, weakref.ref(gray)))
        if before is not None:
            self._tracks = [track for track in self._tracks if self._follow(track, before, gray)]
        return self._faces()

    def clear(self) -> None:
        """What comes next is not what was followed, whatever it looks like."""
        self._gray, self._tracks = None, []
        self._frames.clear()

    def correct(self, detections: Iterable[Detection], gray: Array) -> list[TrackedFace]:
        """The faces in the current frame, after detections that were made on `gray`, an earlier argument of update.

        Detections on a frame that is unknown by now, or of another size, are ignored.
        """
        frame = next((index for index, known in self._frames if known() is gray), None)
        if frame is None or self._gray is None:
            return self._faces()
        then = [(track, past) for track in self._tracks if (past := track.at(frame)) is not None]
        pairs = [
            (iou(_box(points), detection.box), track, motion, detection)
            for track, (motion, points) in then
            for detection in detections
        ]
        matched: set[int] = set()
        taken: set[int] = set()
        for overlap, track, motion, detection in sorted(pairs, key=lambda pair: -pair[0]):
            if overlap < SAME_FACE or track.id in matched or id(detection) in taken:
                continue
            matched.add(track.id)
            taken.add(id(detection))
            since = track.motion @ np.linalg.inv(motion)
            self._pull(track, _moved(_points(detection), since), detection.score, frame)
        for detection in detections:
            if id(detection) not in taken:
                self._welcome(detection, gray, frame, matched)
        for track, _ in then:
            if track.id not in matched:
                track.misses += 1
        self._tracks = [track for track in self._tracks if track.misses < MAX_MISSES]
        return self._faces()

    def _resized(self, before: Array, shape: tuple[int, ...]) -> Array | None:
        """The last frame at the new size, and the tracks with it; None where the picture's shape has changed."""
        self._frames.clear()
        scale = np.array([shape[1] / before.shape[1], shape[0] / before.shape[0]])
        if abs(scale[0] / scale[1] - 1) > 0.05:
            self._tracks = []
            return None
        for track in self._tracks:
            track.points = (track.points + 0.5) * scale - 0.5
            track.pending = track.pending * scale
            track.motion = np.eye(3)
            track.past.clear()
        method = cv2.INTER_AREA if scale[0] < 1 else cv2.INTER_LINEAR
        return cv2.resize(before, (shape[1], shape[0]), interpolation=method)

    def _faces(self) -> list[TrackedFace]:
        return [
            TrackedFace(
                track.id,
                _box(track.points),
                track.points[2:].astype(np.float32),
                track.score,
                self._frame - track.confirmed,
                track.doubts,
            )
            for track in self._tracks
        ]

    def _follow(self, track: _Track, before: Array, now: Array) -> bool:
        box = _box(track.points)
        motion, alike = flow(before, now, box)
        if motion is None:
            track.coasting += 1
            track.doubts += alike < ALIKE
            if track.coasting > MAX_COASTING or alike < SAME_PICTURE:
                return False
            motion = np.eye(3)
        else:
            track.coasting = 0
        step = 0.3 * track.pending
        track.pending = track.pending - step
        track.points = _moved(track.points + step, motion)
        track.pending = track.pending @ motion[:2, :2].T
        track.motion = motion @ track.motion
        track.past.append((self._frame, track.motion, track.points))
        x, y = _box(track.points).centre
        return bool(0 <= x <= now.shape[1] and 0 <= y <= now.shape[0])

    def _pull(self, track: _Track, measured: Array, score: float, frame: int) -> None:
        error = measured - track.points
        height = track.points[1, 1] - track.points[0, 1]
        drift = float(np.sqrt(np.square(error[:2]).sum(1).mean())) / height
        # A Kalman filter's gain for a track that starts with one detection, and ends where flow's drift and the
        # detector's noise balance; a large error is drift, or a turned head, and is taken faster.
        track.gain = max(0.15, track.gain / (1 + track.gain))
        track.pending = error * (0.6 if drift > 0.2 else track.gain)
        track.doubts += drift > JUMP or track.misses > 1
        track.score, track.confirmed, track.misses = score, frame, 0

    def _welcome(self, detection: Detection, gray: Array, frame: int, matched: set[int]) -> None:
        """A face that no track had at that time: carried to now by one long step of flow, and followed from there."""
        assert self._gray is not None
        motion: Array | None = np.eye(3)
        if frame != self._frame:
            motion, _ = flow(gray, self._gray, detection.box)
        if motion is None:
            return
        points = _moved(_points(detection), motion)
        for track in self._tracks:
            if iou(_box(track.points), _box(points)) > SAME_FACE:
                if track.id not in matched:
                    matched.add(track.id)
                    self._pull(track, points, detection.score, frame)
                return
        track = _Track(self._next, points, detection.score, frame, np.zeros_like(points))
        track.past.append((self._frame, track.motion, track.points))
        matched.add(track.id)
        self._next += 1
        self._tracks.append(track)


def flow(before: Array, now: Array, box: Box) -> tuple[Array | None, float]:
    """How the face in `box` moves from one gray frame to another of the same size.

    Returns a similarity, (3, 3), in frame pixels, or None where too few corners agree on one; and how alike the two
    pictures are in that place, the correlation -1..1.
    """
    size = max(box.width, box.height)
    side = max(16, round(2 * size))
    if side > WINDOW:  # whole-number reductions are several times as fast
        side = WINDOW * math.ceil(side / WINDOW - 0.25)
    x, y = (round(centre - side / 2) for centre in box.centre)
    old, new = _window(before, x, y, side), _window(now, x, y, side)
    corners = ENLARGED if side < WINDOW else REDUCED
    motion = _similarity(old, new, _face_mask(box, x, y, side, now.shape), corners)
    if motion is None:
        middle = slice(FACE // 2, -FACE // 2)
        return None, _correlation(old[middle, middle], new[middle, middle])
    scale = side / WINDOW
    shift = (scale - 1) / 2
    place = np.array([x + shift, y + shift])
    motion[:2, 2] = scale * motion[:2, 2] + place - motion[:2, :2] @ place
    return motion, 1.0


def _window(gray: Array, x: int, y: int, side: int) -> Array:
    method = cv2.INTER_AREA if side > WINDOW else cv2.INTER_LINEAR
    return cv2.resize(crop(gray, x, y, side), (WINDOW, WINDOW), interpolation=method)


def _face_mask(box: Box, x: int, y: int, side: int, shape: tuple[int, ...]) -> Array:
    """Where in the window to look for corners: inside the face, less what lies outside the frame."""
    scale = WINDOW / side
    mask = np.zeros((WINDOW, WINDOW), np.uint8)
    left, top = max(box.x, 2.0) - x, max(box.y, 2.0) - y
    right, bottom = min(box.x + box.width, shape[1] - 2.0) - x, min(box.y + box.height, shape[0] - 2.0) - y
    rows, columns = (
        slice(*(max(0, round(edge * scale)) for edge in edges)) for edges in ((top, bottom), (left, right))
    )
    mask[rows, columns] = 255
    return mask


def _similarity(old: Array, new: Array, mask: Array, how: _Corners) -> Array | None:
    corners = cv2.goodFeaturesToTrack(old, how.most, 0.02, 4, mask=mask)
    if corners is None or len(corners) < MIN_POINTS:
        return None
    follow = partial(
        cv2.calcOpticalFlowPyrLK,
        nextPts=NOTHING,
        winSize=(how.window, how.window),
        maxLevel=3,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.05),
    )
    there, found, _ = follow(old, new, corners)
    back, found_back, _ = follow(new, old, there)
    returned = np.abs(back - corners).reshape(-1, 2).max(1) < 0.7
    good = returned & (found.ravel() == 1) & (found_back.ravel() == 1)
    if good.sum() < max(MIN_POINTS, 0.3 * len(corners)):
        return None
    affine, inliers = cv2.estimateAffinePartial2D(corners[good], there[good], ransacReprojThreshold=1.0)
    if affine is None or inliers.sum() < max(MIN_POINTS, 0.4 * good.sum()):
        return None
    growth = float(np.hypot(affine[0, 0], affine[1, 0]))
    if not 0.75 < growth < 1.33:
        return None
    return np.vstack([affine, [0, 0, 1]])


def _correlation(a: Array, b: Array) -> float:
    a, b = a.astype(np.float32) - a.mean(), b.astype(np.float32) - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-6))


def _points(detection: Detection) -> Array:
    box = detection.box
    corners = np.array([[box.x, box.y], [box.x + box.width, box.y + box.height]]) - 0.5
    return np.vstack([corners, detection.landmarks]).astype(float)


def _box(points: Array) -> Box:
    (left, top), (right, bottom) = points[:2] + 0.5
    return Box(float(left), float(top), float(right - left), float(bottom - top))


def _moved(points: Array, motion: Array) -> Array:
    """Points moved by a similarity; the two box corners as an upright box, which scales and shifts but never turns."""
    moved = points @ motion[:2, :2].T + motion[:2, 2]
    half = (points[1] - points[0]) / 2 * np.hypot(motion[0, 0], motion[1, 0])
    centre = moved[:2].mean(0)
    moved[0], moved[1] = centre - half, centre + half
    return moved
