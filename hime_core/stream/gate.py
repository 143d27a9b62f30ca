"""The gate: which faces of a stream are enhanced, at what LR side, and how much of what the network adds is shown.

What a face gains follows from what its exemplars show and it does not. Three things tell that: its size, as small faces
gain from whatever exemplars; the pixels of its exemplars, where they have more of them and the view shows more than the
face has; and how coarsely it was quantized, by the bitstream or, where that does not say, by the traces in the picture
(faces/damage.py), against how its exemplars were. The figures behind the numbers are in
docs/calls.md; `python -m benchmarks.faces.gate CLIPS --always` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hime_core.exemplars.exemplar import Exemplar, kept
from hime_core.faces.geometry import LR_SIDES

BETTER = 0.9  # times a face's resolved pixels that an exemplar must have to be used for it: less adds nothing
UNAIDED = 48  # largest square that the network helps without exemplars
SMALL, LARGE = 80.0, 128.0  # squares that gain from whatever exemplars, and that gain none by being small
AS_LARGE, LARGER = 1.2, 1.7  # times the face's pixels that its exemplars have: nothing to gain by that, and all
# Quantizer steps for a square of 160 pixels: nothing to gain up to the one, all from the other on. In proportion to the
# square, as the same step takes more from a smaller face.
FINE_STEP, COARSE_STEP, STEP_SQUARE = 20.0, 38.0, 160.0
TRACES = 2.4  # quantizer steps for one that the picture's traces speak of: they tell of less than was taken
AS_COARSE, COARSER = 1.3, 2.0  # times the exemplars' step: nothing to gain from them, and all
OPENS, SHUTS = 0.3, 0.05  # strengths between which the gate stays as it is
MEASURE_EVERY = 5  # frames between measurements of what a face shows
SMOOTHING = 0.2  # of the step, per frame
LEAST_LR = 64  # side that faces larger than all LR sides are reduced to where the codec left little ...
REDUCTION = 2.8  # ... and by how much at most


@dataclass(frozen=True)
class Verdict:
    """side: the LR side to ask for, None where the face is not to be enhanced; strength: how much of what the network
    adds is to be shown, 0..1; reason: why it is not, as bypasses are counted."""

    side: int | None
    strength: float = 0.0
    reason: str = ""


@dataclass
class _Track:
    resolved: float = 0.0  # pixels, smoothed
    measured: int = -MEASURE_EVERY  # frame
    traces: float | None = None  # step by the traces in the picture, smoothed
    step: float | None = None  # smoothed
    open: bool = False
    heavy: bool = False  # whether the codec left little


class Gate:
    """Decides for the faces of one stream; tracks are the tracker's. For one thread."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def keep(self, tracks: Iterable[int]) -> None:
        """Forgets all other tracks."""
        for track in set(self._tracks) - set(tracks):
            del self._tracks[track]

    def measures(self, track: int, frame: int) -> bool:
        """Whether it is time to look at what a face shows."""
        return frame - self._of(track).measured >= MEASURE_EVERY

    def measured(self, track: int, frame: int, resolved: float, traces: float | None = None) -> None:
        """resolved: pixels (faces.quality.resolved) that the face shows in this frame; traces: the quantizer step that
        the picture itself speaks of, grey levels."""
        state = self._of(track)
        state.resolved = _smooth(state.resolved or None, resolved, 0.3)
        state.traces = None if traces is None else _smooth(state.traces, traces, 0.3)
        state.measured = frame

    def least(self, track: int) -> float:
        """Resolved pixels that an exemplar of the face must have at least."""
        state = self._of(track)
        return BETTER * state.resolved * kept(state.step)

    def step(self, track: int, step: float | None) -> float | None:
        """The step of a face: the bitstream's, or the one by the picture's traces where that is coarser. None where
        neither is known."""
        traces = self._of(track).traces
        found = (step, None if traces is None else TRACES * traces)
        return max((one for one in found if one is not None), default=None)

    def judge(
        self,
        track: int,
        side: int,
        exemplars: tuple[Exemplar, ...],
        known: bool,
        step: float | None,
        enlarged: float = 1.0,
    ) -> Verdict:
        """Once per frame. side: of the face's square, pixels; exemplars: those that can be used for it; known: whether
        there are others too; step: the quantizer's by the bitstream, grey levels, None where nobody says; enlarged:
        how many times as large the frame is shown."""
        state = self._of(track)
        step = self.step(track, step)
        state.step = None if step is None else _smooth(state.step, step, SMOOTHING)
        if not exemplars and side > UNAIDED:
            state.open = False
            return Verdict(None, reason="close" if known else "no_exemplar")
        damage = _by_step(state.step, side, exemplars)
        worth = max(_by_size(side), _by_pixels(side, exemplars, enlarged), damage)
        state.open = worth >= (SHUTS if state.open else OPENS)
        if not state.open:
            return Verdict(None, reason="close")
        state.heavy = damage > (0.6 if state.heavy else 0.9)
        return Verdict(lr_side(side, state.heavy), worth)

    def _of(self, track: int) -> _Track:
        return self._tracks.setdefault(track, _Track())


def lr_side(side: int, heavy: bool) -> int:
    """The LR side for a square of the frame: its own up to the largest, else one that it is reduced to, the largest
    unless the codec left little that a smaller one would lose."""
    if side <= LR_SIDES[-1]:
        return side
    least = max(LEAST_LR, side / REDUCTION) if heavy else LR_SIDES[-1]
    return next((lr for lr in LR_SIDES if lr >= least), LR_SIDES[-1])


def _by_size(side: int) -> float:
    return _ramp(side, LARGE, SMALL)


def _by_pixels(side: int, exemplars: tuple[Exemplar, ...], enlarged: float) -> float:
    fine = [e.native_px for e in exemplars if e.step is None or e.step <= FINE_STEP]
    if not fine:
        return 0.0
    return _ramp(math.log(min(sum(fine) / len(fine) / side, enlarged)), math.log(AS_LARGE), math.log(LARGER))


def _by_step(step: float | None, side: int, exemplars: tuple[Exemplar, ...]) -> float:
    if step is None:
        return 0.0
    worth = _ramp(math.log(max(step, 1e-3) * STEP_SQUARE / side), math.log(FINE_STEP), math.log(COARSE_STEP))
    theirs = min((e.step for e in exemplars if e.step is not None), default=None)
    return worth if theirs is None else min(worth, _ramp(step / max(theirs, 1e-3), AS_COARSE, COARSER))


def _ramp(value: float, nothing: float, all_of_it: float) -> float:
    return min(1.0, max(0.0, (value - nothing) / (all_of_it - nothing)))


def _smooth(before: float | None, now: float, share: float) -> float:
    return now if before is None else before + share * (now - before)
