"""Detail over time: what is remembered of each face, carried along, blended and faded, so that nothing flickers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hime_core.arrays import Array
from hime_core.compositing.detail import Carrier, Detail, Patch, luma_of, patch
from hime_core.compositing.eligible import Eligible
from hime_core.faces.geometry import FaceSquare, Headshot, face_square
from hime_core.faces.tracker import TrackedFace

INVISIBLE = 0.02  # strength below which nothing is added, so that the plain view's own pixels are shown


@dataclass
class _Memory:
    detail: Detail | None = None
    strength: float = 0.0
    time: float = 0.0


class SteadyDetail:
    """The detail of one stream's faces. Times are those at which frames were received. For one thread.

    carry_for: seconds that detail is carried along while no newer comes; fade: seconds from nothing to full detail and
    back; steadiness: share of carried detail mixed into fresh one where the picture is the same. Patches come at
    strengths that move to what is wanted of a face no faster than `fade` says.
    """

    def __init__(self, carry_for: float, fade: float, steadiness: float) -> None:
        self._carry_for, self._fade, self._steadiness = carry_for, fade, steadiness
        self._carrier = Carrier()
        self._memory: dict[int, _Memory] = {}

    def keep(self, tracks: Iterable[int]) -> None:
        """Forgets all other tracks."""
        for track in set(self._memory) - set(tracks):
            del self._memory[track]

    def late(self, face: Eligible, added: Array, received: float) -> None:
        """An answer for a frame that has left: what is carried from now on. added: its `difference`."""
        if memory := self._memory.get(face.face.track):
            memory.detail = _detail(face, added, received)

    def fresh(self, face: Eligible, added: Array, now: float, patience: float) -> Patch:
        """The patch of a face just enhanced. added: its `difference`, which is written to; patience: seconds beyond
        carry_for that detail may be old."""
        memory = self._memory.setdefault(face.face.track, _Memory(time=now))
        carried = self._carried(memory, face.face.landmarks, face.square, face.luma, now, patience, added.shape[0])
        if carried is not None:
            moved, trust = carried
            added += self._steadiness * trust * (moved - added)
        memory.detail = _detail(face, added, now)
        return patch(face.square, added, self._strength(memory, now, face.strength))

    def carried(self, face: Eligible, now: float, patience: float) -> Patch | None:
        """The patch of a face that was not enhanced in this frame; None where there is nothing to carry."""
        memory = self._memory.setdefault(face.face.track, _Memory(time=now))
        carried = self._carried(memory, face.face.landmarks, face.square, face.luma, now, patience)
        if carried is None:
            memory.strength, memory.time = 0.0, now
            return None
        return patch(face.square, carried[0] * carried[1], self._strength(memory, now, face.strength))

    def fading(self, face: TrackedFace, headshot: Headshot, y: Array, now: float, patience: float) -> Patch | None:
        """The patch of a face that is no longer to be enhanced: its last detail, while it fades away.

        y: the frame's luma, uint8 (H, W)."""
        memory = self._memory.get(face.track)
        if memory is None or memory.detail is None:
            return None
        strength, square = self._strength(memory, now, 0.0), face_square(headshot)
        carried = None
        if strength > INVISIBLE:
            carried = self._carried(memory, face.landmarks, square, luma_of(y, square), now, patience)
        if carried is None:
            memory.detail, memory.strength = None, 0.0
            return None
        return patch(square, carried[0] * carried[1], strength)

    def _carried(
        self,
        memory: _Memory,
        landmarks: Array,
        square: FaceSquare,
        luma: Array,
        now: float,
        patience: float,
        size: int | None = None,
    ) -> tuple[Array, Array] | None:
        detail = memory.detail
        if detail is None:
            return None
        rest = self._carry_for + patience - (now - detail.time)
        if rest <= 0:
            return None
        moved, trust = self._carrier.carry(detail, luma, landmarks, square, size)
        return moved, trust * np.float32(min(1.0, 2 * rest / self._carry_for))  # old detail goes softly

    def _strength(self, memory: _Memory, now: float, target: float) -> float:
        """Moves a face's strength towards target, so that nothing pops; returns it."""
        step = max(0.0, now - memory.time) / self._fade
        memory.time = now
        memory.strength += max(-step, min(step, target - memory.strength))
        return memory.strength


def _detail(face: Eligible, added: Array, time: float) -> Detail:
    return Detail(added, face.luma, face.face.landmarks, face.square, time)
