"""The gate: which faces of a stream are enhanced, at what LR side, and how much of what the network adds is shown.

A face is sent to the network while its person's exemplars show more of it than it shows itself (`resolved`). The
answer tells what it is worth: where the plain face has as much fine detail as the enhanced one (`own_detail`), the
network has nothing to add and would only take away. The figures behind the numbers are in docs/results.md, made by
`python -m benchmarks.gate CLIPS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hime_core.bank import Exemplar
from hime_core.faces.geometry import LR_SIDES

FULL, NOTHING = 0.94, 1.06  # own detail up to which all that is added is shown, and from which on nothing is
OPENS = 0.25  # strength that a shut gate opens at: what is about to be nothing is not begun with
SMOOTHING = 0.2  # of the strength, per answer
PROBE = 1.0  # seconds between questions while the gate is shut
COARSER = 1.4  # times the quantizer step of the last question: the picture is another one, and is asked about at once
BETTER = 1.06  # times a face's resolved pixels that an exemplar must have to be used for it
UNAIDED = 48  # largest square that the network helps without exemplars
MEASURE_EVERY = 5  # frames between measurements of what a face shows
FINE, COARSE = 8.0, 40.0  # quantizer steps: nothing is lost up to the one, much from the other on
STEP_SHIFT = 0.06  # of own detail, between a picture quantized finely or coarsely and one in the middle
HEAVY = 0.88  # own detail below which a face has lost so much that a smaller LR picture holds the rest
LEAST_LR = 64  # side that large faces are reduced to ...
REDUCTION = 3.4  # ... and by how much at most


@dataclass(frozen=True)
class Verdict:
    """side: the LR side to ask for, None where the face is not to be enhanced now; reason: why not, as bypasses are
    counted."""

    side: int | None
    reason: str = ""


@dataclass
class _Track:
    resolved: float = 0.0  # pixels, smoothed
    measured: int = -MEASURE_EVERY  # frame
    strength: float | None = None  # None until the first answer
    heavy: bool = True  # whether it has lost so much that a smaller LR picture holds the rest
    asked: float = -math.inf
    step: float | None = None  # when asked last


class Gate:
    """Decides for the faces of one stream. Tracks are the tracker's, times the caller's clock's.

    judge() and the methods before it are for the thread that begins frames, learn() and strength() for the one that
    ends them.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def keep(self, tracks: Iterable[int]) -> None:
        """Forgets all other tracks."""
        for track in set(self._tracks) - set(tracks):
            del self._tracks[track]

    def measures(self, track: int, frame: int) -> bool:
        """Whether it is time to say how much a face shows."""
        return frame - self._tracks.setdefault(track, _Track()).measured >= MEASURE_EVERY

    def measured(self, track: int, frame: int, resolved: float) -> None:
        """resolved: pixels (faces.quality.resolved) that the face shows in this frame."""
        state = self._tracks[track]
        state.resolved += (resolved - state.resolved) * (0.3 if state.resolved else 1.0)
        state.measured = frame

    def least(self, track: int) -> float:
        """Resolved pixels that an exemplar of the face must have at least."""
        return BETTER * self._tracks.setdefault(track, _Track()).resolved

    def judge(
        self, track: int, side: int, exemplars: tuple[Exemplar, ...], known: bool, step: float | None, now: float
    ) -> Verdict:
        """side: of the face's square, pixels; exemplars: those that can be used for it; known: whether there are others
        too; step: the quantizer's, grey levels, None where nobody says."""
        state = self._tracks.setdefault(track, _Track())
        if not exemplars and side > UNAIDED:
            return Verdict(None, "close" if known else "no_exemplar")
        if state.strength == 0.0 and now - state.asked < PROBE and not _coarser(step, state.step):
            return Verdict(None, "close")
        return Verdict(side if side in LR_SIDES else _reduced(side, state.heavy))

    def asked(self, track: int, step: float | None, now: float) -> None:
        """The engine was asked to enhance the face."""
        state = self._tracks[track]
        state.asked, state.step = now, step

    def learn(self, track: int, own: float) -> None:
        """own: the face's own detail, by an answer (faces.quality.own_detail)."""
        state = self._tracks.get(track)
        if state is None:
            return
        wanted = _worth(own + _shift(state.step))
        if state.strength is None:
            state.strength = wanted if wanted >= OPENS else 0.0
        elif state.strength or wanted >= OPENS:
            moved = state.strength + SMOOTHING * (wanted - state.strength)
            state.strength = moved if moved > 0.02 else 0.0
        state.heavy = own < HEAVY + (0.02 if state.heavy else -0.02)

    def strength(self, track: int) -> float:
        """How much of what the network adds to the face is to be shown, 0..1."""
        state = self._tracks.get(track)
        return (state.strength if state else None) or 0.0


def _reduced(side: int, heavy: bool) -> int:
    """The LR side for a square that is larger than all of them."""
    if not heavy:
        return LR_SIDES[-1]
    return next((lr for lr in LR_SIDES if lr >= max(LEAST_LR, side / REDUCTION)), LR_SIDES[-1])


def _worth(own: float) -> float:
    return min(1.0, max(0.0, (NOTHING - own) / (NOTHING - FULL)))


def _shift(step: float | None) -> float:
    """What the bitstream says, in terms of own detail: a picture that was quantized coarsely has lost more than its
    detail shows, as the codec's own edges count as some."""
    if step is None:
        return 0.0
    coarse = math.log(max(step, 1e-3) / FINE) / math.log(COARSE / FINE)
    return STEP_SHIFT * (1 - 2 * min(1.0, max(0.0, coarse)))


def _coarser(step: float | None, before: float | None) -> bool:
    return step is not None and before is not None and step > COARSER * before
