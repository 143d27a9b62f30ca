"""A frame on its way through the enhancer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from hime_core.arrays import U8
from hime_core.compositing.detail import Patch
from hime_core.compositing.eligible import Eligible
from hime_core.faces.geometry import Headshot
from hime_core.faces.tracker import TrackedFace
from hime_core.people.sightings import Verdict
from hime_core.video.picture import Picture

Outcome = Literal["enhanced", "carried", "passed"]


class OnDemand:
    """A picture that is made when somebody first asks for it, from any thread, and only once."""

    def __init__(self, make: Callable[[], U8]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: U8 | None = None

    def __call__(self) -> U8:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


@dataclass(frozen=True)
class SeenFace:
    """What is known of a face in view. person: a people.Person's id; verdict: as people.Sighting has it; side: of the
    headshot, pixels; exemplars: how many it is enhanced with; reason: why it is not enhanced, as bypasses are
    counted, None where it is."""

    person: int
    verdict: Verdict
    side: int
    exemplars: int
    reason: str | None


@dataclass(eq=False)
class Request:
    """Faces of one frame at the engine; the times of the frame's reception, of asking, and of each answer."""

    eligible: tuple[Eligible, ...]
    futures: tuple[Future[U8], ...]
    received: float
    asked: float
    shown: float  # as Job's
    answers: list[float] = field(default_factory=list)

    @property
    def load(self) -> list[tuple[int, int]]:
        """Each face's LR pixels at the engine, and number of references."""
        return [(face.side**2, max(1, len(face.exemplars))) for face in self.eligible]

    def done(self) -> bool:
        return len(self.answers) == len(self.futures)

    @property
    def answered(self) -> float:
        """When the last answer came; only once it is done."""
        return max(self.answers)


@dataclass(eq=False)
class Job:
    """A frame on its way from begin() to finish()."""

    picture: Picture
    received: float
    now: float
    step: float | None = None  # the quantizer's, grey levels; None where nobody says
    faces: tuple[TrackedFace, ...] = ()
    headshots: tuple[Headshot, ...] = ()
    eligible: tuple[Eligible, ...] = ()
    ask: bool = True  # whether it is this frame's turn
    watched: bool = True  # whether anybody sees what the engine makes of it
    unseen: str = "unwatched"  # why not, where nobody does, as bypasses are counted
    shown: float = math.inf  # pixels that views have for one of the frame's, at most
    demand: str | None = None  # the level of demand that it was on, where anything could be asked of the engine
    request: Request | None = None
    bypasses: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Enhanced:
    """A frame that can be rendered. bypasses: why faces were not freshly enhanced, one reason per face, `no_face`
    once; reference_gap: mean age in seconds of the exemplars used, None when none was; seconds: on patches;
    demand: the level of demand, None where there was nothing to ask for."""

    picture: Picture
    patches: tuple[Patch, ...]
    faces: tuple[Headshot, ...]
    outcome: Outcome
    bypasses: tuple[str, ...]
    reference_gap: float | None
    seconds: float = 0.0
    demand: str | None = None
