"""The exemplar bank: sharp pictures of one person, from the call itself and from photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from uuid import uuid4

import cv2
import numpy as np

from hime_core.arrays import F32, U8, Array
from hime_core.exemplars.exemplar import (
    CLEAN_STEP,
    OF_CALL,
    Exemplar,
    cut_exemplar,
    inside,
    kept,
    plausible,
    roll_degrees,
)
from hime_core.faces.geometry import Headshot, crop, headshot_of
from hime_core.faces.quality import yaw_degrees
from hime_core.faces.tracker import TrackedFace

# Of the best exemplar's resolved pixels: a face of the call must have so many to be admitted ...
GOOD = 0.85
NOVEL = 0.7  # ... or, where it shows a pose or look that the bank lacks, so many
NOVELTY = 0.9  # as _differences has it
OUTDONE = 0.75  # exemplars below go as soon as ENOUGH others are above GOOD
ENOUGH = 3
AS_FINE = 2.0  # times the finest step of the exemplars: those that were coded more coarsely are not used beside them
MAX_ROLL = 35.0
MIN_SCORE = 0.9
MAX_UNSEEN = 15  # frames since the last detection: later the landmarks may have drifted
MAX_SPEED = 0.03  # of the headshot's side per frame: beyond, a picture is blurred by motion even where it looks sharp
STEADINESS = (0.9, 0.5, 0.45)  # how much better another exemplar must match to take the place of the one in use


@dataclass(frozen=True, eq=False)
class _Entry:
    exemplar: Exemplar
    shape: F32
    look: F32


class ExemplarBank:
    """At most `capacity` exemplars of one person; thread-safe.

    A face of the call is admitted, at most every `interval` frames, when it is about as good as the best there is, or
    shows what the bank lacks; what is much poorer than the rest goes. Photos are never pushed out by the call, and fill
    at most half of the bank. on_decision: told of each face of the call that was looked at, and of each that goes
    again: one of `decisions.DECISIONS`.
    """

    def __init__(
        self,
        capacity: int = 16,
        interval: int = 30,
        clock: Callable[[], float] = time.monotonic,
        on_decision: Callable[[str], None] = lambda decision: None,
    ) -> None:
        if capacity < 2:
            raise ValueError(f"a bank of {capacity} exemplars: at least 2 are needed")
        self._capacity = capacity
        self._interval = interval
        self._clock = clock
        self._on_decision = on_decision
        self._lock = Lock()
        self._entries: list[_Entry] = []
        self._admitted: int | None = None
        self._tried: int | None = None
        self._last: tuple[int, int, Headshot] | None = None
        self._selected: tuple[str, ...] = ()

    def offer(self, rgb: Callable[[], U8], face: TrackedFace, frame: int, step: float | None = None) -> Exemplar | None:
        """Admits a tracked face of a (height, width, 3) uint8 frame, or refuses it. Most are refused unseen.

        step: the quantizer's that the frame was coded with, grey levels; None where nobody says.
        """
        headshot = headshot_of(face.box)
        with self._lock:
            speed = self._speed(face.track, frame, headshot)
            self._last = (face.track, frame, headshot)
            # A refused face is tried again soon, so that the first usable frame is not missed, yet not at every frame.
            if _too_soon(frame, self._admitted, self._interval) or _too_soon(frame, self._tried, self._interval // 10):
                return None
            self._tried = frame
        reason = self._refusal(rgb, face, headshot, speed)
        exemplar = None
        if reason is None:
            now = self._clock()
            exemplar = cut_exemplar(rgb(), face.box, face.landmarks, uuid4().hex, "call", frame, now)
            resolved = exemplar.resolved * kept(step)
            exemplar = replace(exemplar, resolved=resolved, step=step, sighting=face.track)
            reason = "blurred" if exemplar.sharpness < OF_CALL.sharpness else None
        with self._lock:
            if exemplar is not None and reason is None:
                entry = _entry(exemplar)
                reason = self._poorer(entry)
            if exemplar is not None and reason is None:
                self._admitted = frame
                self._entries.append(entry)
                gone = self._fit()
        if exemplar is None or reason is not None:
            self._on_decision(reason or "implausible")
            return None
        for decision in ("taken", *gone * ("replaced",)):
            self._on_decision(decision)
        return exemplar

    def add_photo(self, exemplar: Exemplar) -> None:
        """Adds a photo, in place of one with the same id."""
        entry = _entry(exemplar)
        with self._lock:
            self._entries = [e for e in self._entries if e.exemplar.id != exemplar.id] + [entry]
            self._trim("photo", self._capacity // 2)
            before = len(self._entries)
            self._trim("call", self._capacity - sum(e.exemplar.source == "photo" for e in self._entries))
            gone = before - len(self._entries)
        for _ in range(gone):
            self._on_decision("replaced")

    def remove(self, ids: Iterable[str]) -> None:
        """Removes exemplars by id; unknown ids are ignored."""
        gone = set(ids)
        with self._lock:
            self._entries = [e for e in self._entries if e.exemplar.id not in gone]

    def release(self, sighting: int) -> list[Exemplar]:
        """Takes out what came from one view of a face, as it was another person's."""
        with self._lock:
            gone = [e for e in self._entries if e.exemplar.sighting == sighting and e.exemplar.source == "call"]
            self._entries = [e for e in self._entries if e not in gone]
        for _ in gone:
            self._on_decision("another_person")
        return [entry.exemplar for entry in gone]

    def adopt(self, exemplars: Iterable[Exemplar]) -> list[str]:
        """Takes exemplars of the call over from another bank; returns the ids of those for which there was no room."""
        entries = [_entry(exemplar) for exemplar in exemplars]
        with self._lock:
            before = [*(e.exemplar.id for e in self._entries), *(e.exemplar.id for e in entries)]
            self._entries += entries
            if entries:
                self._fit()
            kept_ids = {e.exemplar.id for e in self._entries}
        gone = [id for id in before if id not in kept_ids]
        for _ in gone:
            self._on_decision("replaced")
        return gone

    @property
    def empty(self) -> bool:
        return not self._entries

    def exemplars(self) -> list[Exemplar]:
        """What is in the bank, oldest first."""
        with self._lock:
            return sorted((e.exemplar for e in self._entries), key=lambda exemplar: exemplar.time)

    def select(
        self,
        landmarks: F32,
        yaw: float,
        light: float,
        lr_side: int,
        scale: int,
        count: int = 3,
        least: float = 0.0,
    ) -> tuple[Exemplar, ...]:
        """The `count` best matches for a face, best first: by own pixels, pose, light and resolution.

        landmarks: (5, 2) of the face, in any unit; yaw in degrees; light 0..1; least: resolved pixels that an exemplar
        must have. The choice is steady: an exemplar in use stays until another one matches clearly better.
        """
        with self._lock:
            usable = _fine([entry for entry in self._entries if entry.exemplar.resolved >= least])
            if not usable:
                return ()
            found = [entry.exemplar for entry in usable]
            shapes = np.stack([entry.shape for entry in usable])
            sides = np.array([exemplar.headshot.side for exemplar in found])
            resolutions = np.array([exemplar.resolved for exemplar in found])
            cost = 12 * np.maximum(0.0, 1 - sides / min(scale * lr_side, sides.max()))
            cost += 6 * np.maximum(0.0, 0.9 - resolutions / resolutions.max())
            cost += np.sqrt(np.square(shapes - _shape(landmarks)).sum(2).mean(1)) / 0.2
            cost += np.abs(np.array([exemplar.yaw for exemplar in found]) - yaw) / 20
            cost += np.abs(np.array([exemplar.light for exemplar in found]) - light) / 0.2
            for i, exemplar in enumerate(found):
                if exemplar.id in self._selected:
                    cost[i] -= STEADINESS[min(self._selected.index(exemplar.id), len(STEADINESS) - 1)]
            best = tuple(found[i] for i in np.argsort(cost, kind="stable")[:count])
            self._selected = tuple(exemplar.id for exemplar in best)
        return best

    def _speed(self, track: int, frame: int, headshot: Headshot) -> float:
        if self._last is None or self._last[0] != track or frame <= self._last[1]:
            return 0.0
        _, before, other = self._last
        moved = np.hypot(headshot.cx - other.cx, headshot.cy - other.cy) + abs(headshot.side - other.side) / 2
        return float(moved) / headshot.side / (frame - before)

    def _refusal(self, rgb: Callable[[], U8], face: TrackedFace, headshot: Headshot, speed: float) -> str | None:
        if headshot.side < OF_CALL.side:
            return "small"
        if face.score < MIN_SCORE or face.seen > MAX_UNSEEN:
            return "uncertain"
        if not inside(face.box, *rgb().shape[1::-1]):
            return "cut_off"
        if not plausible(face.landmarks, face.box):
            return "implausible"
        if abs(yaw_degrees(face.landmarks)) > OF_CALL.yaw or abs(roll_degrees(face.landmarks)) > MAX_ROLL:
            return "turned"
        return "moving" if speed > MAX_SPEED else None

    def _poorer(self, entry: _Entry) -> str | None:
        """Why a face of the call is not good enough for this bank, None where it is."""
        best = max((e.exemplar.resolved for e in self._entries if e.exemplar.source == "call"), default=0.0)
        share = entry.exemplar.resolved / best if best else 1.0
        if share >= GOOD:
            return None
        if share < NOVEL:
            return "poorer"
        novel = float(_differences([*self._entries, entry])[-1].min()) > NOVELTY
        return None if novel else "poorer"

    def _fit(self) -> int:
        """Makes room after exemplars of the call were added; returns how many had to go for it."""
        before = len(self._entries)
        self._drop_outdone()
        self._trim("call", self._capacity - sum(e.exemplar.source == "photo" for e in self._entries))
        return before - len(self._entries)

    def _drop_outdone(self) -> None:
        """What was the best in poor times goes when the call has brought enough that is better."""
        call = [e.exemplar.resolved for e in self._entries if e.exemplar.source == "call"]
        if sum(one >= GOOD * max(call) for one in call) >= ENOUGH:
            least = OUTDONE * max(call)
            self._entries = [e for e in self._entries if e.exemplar.source == "photo" or e.exemplar.resolved >= least]

    def _trim(self, source: str, room: int) -> None:
        """Drops exemplars of a source until they fit: those most like another, the oldest and poorest of them first."""
        while len(own := [i for i, e in enumerate(self._entries) if e.exemplar.source == source]) > room:
            novelty = _differences(self._entries).min(1)
            latest = max(self._entries[i].exemplar.time for i in own)
            best = max(self._entries[i].exemplar.resolved for i in own)

            def worth(i: int, novelty: Array = novelty, latest: float = latest, best: float = best) -> float:
                exemplar = self._entries[i].exemplar
                age = min(1.0, (latest - exemplar.time) / 300)
                return float(novelty[i]) + 0.5 * exemplar.resolved / best - 0.5 * age

            # The newest shows the present light and clothes: it always stays, unless nothing else is left to go.
            del self._entries[min(own[:-1] or own, key=worth)]


def _fine(entries: list[_Entry]) -> list[_Entry]:
    """Those that were coded about as finely as the finest."""
    steps = [entry.exemplar.step or CLEAN_STEP for entry in entries]
    coarsest = AS_FINE * max(CLEAN_STEP, min(steps, default=0.0))
    return [entry for entry, step in zip(entries, steps, strict=True) if step <= coarsest]


def _too_soon(frame: int, before: int | None, interval: int) -> bool:
    return before is not None and 0 <= frame - before < interval


def _entry(exemplar: Exemplar) -> _Entry:
    half = exemplar.headshot.side * 0.3
    side = max(1, round(2 * half))
    face = crop(exemplar.image, round(exemplar.headshot.cx - half), round(exemplar.headshot.cy - half), side)
    small = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA)
    look = small.astype(np.float32) - small.mean()
    return _Entry(exemplar, _shape(exemplar.landmarks), look / max(float(np.linalg.norm(look)), 1e-6))


def _shape(landmarks: Array) -> F32:
    """Landmarks (5, 2) upright, centred, and one eyes-to-mouth distance tall: what is left are pose and expression."""
    points = np.asarray(landmarks, np.float32)
    x, y = points[3:].mean(0) - points[:2].mean(0)
    size = max(float(np.hypot(x, y)), 1e-6)
    upright = np.array([[y, -x], [x, y]], np.float32) / size**2
    shape: F32 = (points - points.mean(0)) @ upright.T
    return shape


def _differences(entries: Sequence[_Entry]) -> F32:
    """How different exemplars are in pose and in looks (expression, light), (N, N): 0 for the same picture.

    The diagonal is infinite: none is compared with itself.
    """
    shapes = np.stack([entry.shape for entry in entries])
    looks = np.stack([entry.look.ravel() for entry in entries])
    pose = np.sqrt(np.square(shapes[:, None] - shapes[None]).sum(3).mean(2))
    difference: F32 = pose / 0.2 + 1 - looks @ looks.T
    np.fill_diagonal(difference, np.inf)
    return difference
