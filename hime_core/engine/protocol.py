"""The engine: LR faces and exemplars in, sharp faces out. It never sees a frame."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hime_core.arrays import F32, U8
from hime_core.exemplars.exemplar import Exemplar


@dataclass(frozen=True, eq=False)
class FaceRequest:
    """One face to enhance.

    lr: RGB uint8 (L, L, 3), cut at the frame's own scale; landmarks: float32 (5, 2) in its pixels;
    exemplars: the person's, best first; with none, the network runs on a blank reference. stream: whose face it is,
    for a fair share; deadline: a face not taken up by then, in the engine's clock seconds, is refused with `Late`.
    """

    lr: U8
    landmarks: F32
    exemplars: tuple[Exemplar, ...]
    stream: Hashable = None
    deadline: float = math.inf


class Engine(Protocol):
    scale: int

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        """Queues the faces of one frame; each result is RGB uint8 (scale*L, scale*L, 3).

        A future may carry an exception, or be cancelled before its face is taken up.
        """
        ...

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """Drops whatever is cached of these exemplars."""
        ...

    def close(self) -> None: ...


class Backend(Protocol):
    """`infer` may be called from `lanes` threads at once."""

    scale: int
    max_batch: int  # faces that are best run together
    lanes: int
    cutters: int  # threads that cut references for all lanes; 1: each lane does it itself

    def infer(self, lr: U8, references: U8) -> U8:
        """lr: uint8 (N, L, L, 3); references: luma uint8 (N, R, sL, sL), R at least 1. Returns uint8 (N, sL, sL, 3)."""
        ...


@runtime_checkable
class FaceRunner(Protocol):
    """Lays exemplars over faces and runs the network on them; `enhance` may be called from `lanes` threads at once."""

    scale: int
    max_batch: int  # faces that are best run together
    lanes: int

    def enhance(self, requests: Sequence[FaceRequest]) -> Sequence[U8]:
        """Of one LR size and one number of references, which is at least 1. RGB uint8 (scale*L, scale*L, 3) each."""
        ...

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """Drops whatever is cached of these exemplars."""
        ...

    def close(self) -> None: ...


class Overload(RuntimeError):
    """The engine takes no more for now."""


class Late(RuntimeError):
    """The engine came to the face too late for it to be of use."""


class Gone(RuntimeError):
    """The engine itself is lost, with all that it was asked; another one may take its place."""
