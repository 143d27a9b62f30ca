"""Detail over time: what is remembered of each face, carried along, blended and faded, so that nothing flickers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from hime_core.compositing.detail import Carrier, Detail, Patch, difference, patch
from hime_core.faces.geometry import Headshot, LrSquare, crop
from hime_core.faces.tracker import TrackedFace
from hime_core.job import Eligible

LARGEST_FADING = 144  # pixels of a frame


@dataclass
class _Memory:
    detail: Detail | None = None
    strength: float = 0.0
    time: float = 0.0


class SteadyDetail:
    """The detail of one stream's faces. Times are those at which frames were received. For one thread.

    scale: the engine's; carry_for: seconds that detail is carried along while no newer comes; fade: seconds from
    nothing to full detail and back; steadiness: share of carried detail mixed into fresh one where the picture is the
    same.
    """

    def __init__(self, scale: int, carry_for: float, fade: float, steadiness: float) -> None:
        self._scale = scale
        self._carry_for, self._fade, self._steadiness = carry_for, fade, steadiness
        self._carrier = Carrier()
        self._memory: dict[int, _Memory] = {}

    def clear(self) -> None:
        self._memory.clear()

    def keep(self, tracks: Iterable[int]) -> None:
        """Forgets all other tracks."""
        for track in set(self._memory) - set(tracks):
            del self._memory[track]

    def late(self, face: Eligible, sr: np.ndarray, received: float) -> None:
        """An answer for a frame that has left: what is carried from now on. sr: RGB uint8, square."""
        if memory := self._memory.get(face.face.track):
            memory.detail = _detail(face, self._added(sr, face.lr), received)

    def fresh(self, face: Eligible, sr: np.ndarray, now: float, patience: float) -> Patch:
        """The patch of a face just enhanced. patience: seconds beyond carry_for that detail may be old."""
        memory = self._memory.setdefault(face.face.track, _Memory(time=now))
        added = self._added(sr, face.lr)
        carried = self._carried(memory, face.face.landmarks, face.square, face.luma, now, patience)
        if carried is not None:
            moved, trust = carried
            added += self._steadiness * trust * (moved - added)
        memory.detail = _detail(face, added, now)
        return patch(face.square, added, self._strength(memory, now, 1.0))

    def carried(self, face: Eligible, now: float, patience: float) -> Patch | None:
        """The patch of a face that was not enhanced in this frame; None where there is nothing to carry."""
        memory = self._memory.setdefault(face.face.track, _Memory(time=now))
        carried = self._carried(memory, face.face.landmarks, face.square, face.luma, now, patience)
        if carried is None:
            memory.strength, memory.time = 0.0, now
            return None
        return patch(face.square, carried[0] * carried[1], self._strength(memory, now, 1.0))

    def fading(self, face: TrackedFace, headshot: Headshot, y: np.ndarray, now: float, patience: float) -> Patch | None:
        """The patch of a face that came too close to be enhanced: its last detail, while it fades away.

        y: the frame's luma, uint8 (H, W)."""
        memory = self._memory.get(face.track)
        if memory is None or memory.detail is None:
            return None
        strength = self._strength(memory, now, 0.0)
        side = 2 * round(headshot.side / 2)
        if side > LARGEST_FADING:  # it came close at once; carrying so much would hold the stream up
            strength = 0.0
        square = LrSquare(round(headshot.cx - side / 2), round(headshot.cy - side / 2), side, 1.0)
        luma = crop(y, square.x, square.y, side)
        carried = self._carried(memory, face.landmarks, square, luma, now, patience) if strength else None
        if carried is None:
            memory.detail, memory.strength = None, 0.0
            return None
        return patch(square, carried[0] * carried[1], strength)

    def _carried(
        self,
        memory: _Memory,
        landmarks: np.ndarray,
        square: LrSquare,
        luma: np.ndarray,
        now: float,
        patience: float,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        detail = memory.detail
        if detail is None:
            return None
        rest = self._carry_for + patience - (now - detail.time)
        if rest <= 0:
            return None
        moved, trust = self._carrier.carry(detail, luma, landmarks, square)
        return moved, trust * np.float32(min(1.0, 2 * rest / self._carry_for))  # old detail goes softly

    def _added(self, sr: np.ndarray, lr: np.ndarray) -> np.ndarray:
        """What is added to the plainly enlarged face; where a smaller one was asked for, that is enlarged."""
        side = self._scale * lr.shape[0]
        if sr.shape[0] < side:
            sr = cv2.resize(sr, (side, side), interpolation=cv2.INTER_CUBIC)
        return difference(sr, lr)

    def _strength(self, memory: _Memory, now: float, target: float) -> float:
        """Moves a face's strength towards target, so that nothing pops; returns it."""
        step = max(0.0, now - memory.time) / self._fade
        memory.time = now
        memory.strength += max(-step, min(step, target - memory.strength))
        return memory.strength


def _detail(face: Eligible, added: np.ndarray, time: float) -> Detail:
    return Detail(added, face.luma, face.face.landmarks, face.square, time)
