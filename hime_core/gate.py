"""The gate: which faces of a stream are enhanced, at what LR side, and how much of what the network adds is shown.

What a face gains follows from how much it has lost. Three things tell:

- its size: a small face has never had what its exemplars show;
- the quantizer step, where the bitstream is at hand: what was coded coarsely has lost its detail;
- the network's own answer: the less fine detail the plain face has over the enhanced one (`own_detail`), compared with
  what one of the exemplars has when it is enhanced by the others, the more the codec or the lens has taken.

While a face has nothing to gain it is asked about once a second, or as soon as it gets poorer. The figures behind the
numbers are in docs/results.md; `python -m benchmarks.gate CLIPS` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hime_core.bank import Exemplar
from hime_core.faces.geometry import LR_SIDES

BETTER = 0.9  # times a face's resolved pixels that an exemplar must have to be used for it: less adds nothing
UNAIDED = 48  # largest square that the network helps without exemplars
SMALL, LARGE = 64.0, 112.0  # squares that gain whatever the codec did to them, and that gain only by what it took
# Quantizer steps for a square of 160 pixels: nothing to gain up to the one, all from the other on. In proportion to the
# square, as the same step takes more from a smaller face.
FINE_STEP, COARSE_STEP, STEP_SQUARE = 18.0, 36.0, 160.0
CLEAR_OWN, LOST_OWN = 0.98, 0.94  # own detail over the clear picture's: nothing to gain, and all
AS_COARSE, COARSER = 1.3, 2.0  # times the exemplars' quantizer step: nothing to gain from them, and all
OPENS, SHUTS = 0.3, 0.05  # strengths between which the gate stays as it is
PROBE = 1.0  # seconds between questions while the gate is shut
GROWN = 1.4  # times the quantizer step when asked last, or ...
BLURRED = 0.88  # ... times the resolved pixels: the picture has become another, and is asked about at once
MEASURE_EVERY = 5  # frames between measurements of what a face shows
SMOOTHING, SMOOTHING_SHUT = 0.2, 0.5  # of own detail, per answer
LEAST_LR = 64  # side that faces larger than all LR sides are reduced to ...
REDUCTION = 2.8  # ... and by how much at most


@dataclass(frozen=True)
class Verdict:
    """side: the LR side to ask for, None where the face is not to be enhanced now; reason: why not, as bypasses are
    counted."""

    side: int | None
    reason: str = ""


@dataclass
class _Track:
    side: int = 0  # of the face's square
    resolved: float = 0.0  # pixels, smoothed
    measured: int = -MEASURE_EVERY  # frame
    step: float | None = None
    exemplars_step: float | None = None  # the coarsest of those in use
    own: dict[int, float] = field(default_factory=dict)  # own detail by LR side, smoothed
    clear: dict[int, float] = field(default_factory=dict)  # the same of exemplars
    strength: float = 0.0
    asked: float = -math.inf
    asked_step: float | None = None
    asked_resolved: float = 0.0


class Gate:
    """Decides for the faces of one stream. Tracks are the tracker's, times the caller's clock's.

    judge() and what is above it are for the thread that begins frames; the rest may be called from any.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def keep(self, tracks: Iterable[int]) -> None:
        """Forgets all other tracks."""
        for track in set(self._tracks) - set(tracks):
            del self._tracks[track]

    def measures(self, track: int, frame: int) -> bool:
        """Whether it is time to say how much a face shows."""
        return frame - self._of(track).measured >= MEASURE_EVERY

    def measured(self, track: int, frame: int, resolved: float) -> None:
        """resolved: pixels (faces.quality.resolved) that the face shows in this frame."""
        state = self._of(track)
        state.resolved += (resolved - state.resolved) * (0.3 if state.resolved else 1.0)
        state.measured = frame

    def least(self, track: int) -> float:
        """Resolved pixels that an exemplar of the face must have at least."""
        return BETTER * self._of(track).resolved

    def judge(
        self, track: int, side: int, exemplars: tuple[Exemplar, ...], known: bool, step: float | None, now: float
    ) -> Verdict:
        """side: of the face's square, pixels; exemplars: those that can be used for it; known: whether there are others
        too; step: the quantizer's, grey levels, None where nobody says."""
        state = self._of(track)
        state.side, state.step = side, step
        if not exemplars and side > UNAIDED:
            return Verdict(None, "close" if known else "no_exemplar")
        state.exemplars_step = max((e.step for e in exemplars if e.step is not None), default=None)
        if not state.strength and now - state.asked < PROBE and not _poorer(state):
            return Verdict(None, "close")
        return Verdict(lr_side(side))

    def asked(self, track: int, now: float) -> None:
        """The engine was asked to enhance the face."""
        state = self._of(track)
        state.asked, state.asked_step, state.asked_resolved = now, state.step, state.resolved

    def learn(self, track: int, lr: int, own: float) -> None:
        """An answer has come. lr: its LR side; own: the face's own detail by it (faces.quality.own_detail)."""
        state = self._tracks.get(track)
        if state is None:
            return
        before = state.own.get(lr, own)
        state.own[lr] = now = before + (own - before) * (SMOOTHING if state.strength else SMOOTHING_SHUT)
        worth = max(_by_size(state.side), _by_step(state), _by_own(now, state.clear.get(lr)))
        if worth >= OPENS or (state.strength and worth >= SHUTS):
            state.strength = worth
        else:
            state.strength = 0.0

    def learn_clear(self, track: int, lr: int, own: float) -> None:
        """The same of one of the exemplars in the face's place."""
        if (state := self._tracks.get(track)) is not None:
            before = state.clear.get(lr, own)
            state.clear[lr] = before + SMOOTHING_SHUT * (own - before)

    def shut(self, track: int) -> bool:
        return not self.strength(track)

    def strength(self, track: int) -> float:
        """How much of what the network adds to the face is to be shown, 0..1."""
        state = self._tracks.get(track)
        return state.strength if state else 0.0

    def _of(self, track: int) -> _Track:
        return self._tracks.setdefault(track, _Track())


def lr_side(side: int) -> int:
    """The LR side for a square of the frame: its own up to the largest, else one that it is reduced to."""
    if side <= LR_SIDES[-1]:
        return side
    return next((lr for lr in LR_SIDES if lr >= max(LEAST_LR, side / REDUCTION)), LR_SIDES[-1])


def _by_size(side: int) -> float:
    return _ramp(side, LARGE, SMALL)


def _by_step(state: _Track) -> float:
    if state.step is None:
        return 0.0
    step = max(state.step, 1e-3)
    worth = _ramp(math.log(step * STEP_SQUARE / state.side), math.log(FINE_STEP), math.log(COARSE_STEP))
    if state.exemplars_step is None:
        return worth
    return min(worth, _ramp(step / max(state.exemplars_step, 1e-3), AS_COARSE, COARSER))


def _by_own(own: float, clear: float | None) -> float:
    return _ramp(own / clear, CLEAR_OWN, LOST_OWN) if clear else 0.0


def _ramp(value: float, nothing: float, all_of_it: float) -> float:
    return min(1.0, max(0.0, (value - nothing) / (all_of_it - nothing)))


def _poorer(state: _Track) -> bool:
    """Whether the picture has become poorer since it was asked about."""
    if state.step is not None and state.asked_step is not None and state.step > GROWN * state.asked_step:
        return True
    return state.resolved < BLURRED * state.asked_resolved
