"""How much can be asked of the engine: learnt from its answers."""

from __future__ import annotations

STRAIN = 0.7  # of the patience: an engine that is expected to take longer is asked with fewer references ...
EASE = 0.5  # ... and with more again where that is expected to take no longer than this
REFERENCE_COST = 0.7  # of a reference, against the rest of the network
SMOOTHING = 0.2


class Pace:
    """Chooses the number of references for one stream.

    patience: seconds that a frame waits for its faces at most, None for as long as it takes; references: the most that
    are wanted.
    """

    def __init__(self, patience: float | None, references: int) -> None:
        self.turnaround = 0.0  # seconds from a frame's reception to its answer, the last time
        self._patience, self._most, self._references = patience, references, references
        self._pixel_seconds = 0.0  # for an LR pixel without references

    def references(self, pixels: int) -> int:
        """How many references can be asked for, with so many LR pixels in all faces of a frame."""
        if self._patience is None:
            return self._most
        while self._references > 1 and self._share(pixels, self._references) > STRAIN:
            self._references -= 1
        while self._references < self._most and self._share(pixels, self._references + 1) <= EASE:
            self._references += 1
        return self._references

    def learn(self, received: float, asked: float, answered: float, faces: list[tuple[int, int]]) -> None:
        """From an answer: the times of the frame's reception, of asking and of the answer; each face's LR pixels and
        number of references."""
        self.turnaround = answered - received
        work = sum(pixels * (1 + REFERENCE_COST * references) for pixels, references in faces)
        measured = (answered - asked) / work
        self._pixel_seconds += (measured - self._pixel_seconds) * (SMOOTHING if self._pixel_seconds else 1.0)

    def _share(self, pixels: int, references: int) -> float:
        """The expected time as a share of the patience."""
        assert self._patience is not None
        return self._pixel_seconds * pixels * (1 + REFERENCE_COST * references) / self._patience
