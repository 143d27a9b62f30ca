"""One stream: frame in, frame out. Owns detect -> bank -> engine -> detail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hime_core.bank import ExemplarBank
from hime_core.compositing.detail import Carrier, Detail, Patch, difference, patch
from hime_core.engine.protocol import Overload
from hime_core.engine.protocol import Engine, FaceRequest
from hime_core.faces.detector import ScanningDetector
from hime_core.faces.geometry import LrSquare, crop, headshot_of, lr_square
from hime_core.faces.quality import brightness, yaw_degrees
from hime_core.faces.tracker import TrackedFace
from hime_core.faces.watch import FaceWatch
from hime_core.job import Eligible, Enhanced, Job, Outcome, Request
from hime_core.pace import Pace
from hime_core.picture import Picture

LARGEST_FADING = 144  # pixels of a frame
RELIEF = 0.8  # of the patience: an engine that answers within it is waited for again


@dataclass(frozen=True)
class EnhancerConfig:
    """patience: seconds after its reception that a frame waits for its faces at most; None: as long as it takes,
    with detection in step (for files). references: exemplars per face. detect_every: frames between detections.
    carry_for: seconds that detail is carried
    along while no newer comes. fade: seconds from nothing to full detail and back.
    steadiness: share of carried detail mixed into fresh one."""

    patience: float | None = 0.12
    references: int = 3
    detect_every: int = 5
    carry_for: float = 0.6
    fade: float = 0.3
    steadiness: float = 0.25


@dataclass
class _Memory:
    """What is remembered of one track between frames."""

    detail: Detail | None = None
    strength: float = 0.0
    time: float = 0.0


class Enhancer:
    """begin() and finish() are each called in frame order, from one thread each.

    At most one request of a stream is at the engine. While the engine answers slower than `patience`, frames do not
    wait for it: they leave with carried detail or as they are, and waiting resumes when it answers in time again.
    """

    def __init__(
        self,
        engine: Engine,
        detector: ScanningDetector,
        bank: ExemplarBank,
        config: EnhancerConfig = EnhancerConfig(),
        clock: Callable[[], float] = time.monotonic,
        on_stage: Callable[[str, float], None] = lambda stage, seconds: None,
    ) -> None:
        self.bank = bank
        self._engine, self._config = engine, config
        self._clock, self._on_stage = clock, on_stage
        self._watch = FaceWatch(detector, config.detect_every, config.patience is None, self._stage)
        self._carrier = Carrier()
        self._memory: dict[int, _Memory] = {}
        self._banks: dict[int, ExemplarBank] = {}  # of further faces
        self._owner: int | None = None  # the track that `bank` belongs to
        self._frame = 0
        self._request: Request | None = None  # the last one, begin()'s
        self._late: Request | None = None  # one that finish() did not wait for
        self._slow = False
        self._dropped = False  # what is remembered is to be forgotten
        self._pace = Pace(config.patience, config.references)

    def forget(self, exemplar_ids: Iterable[str] | None) -> None:
        """Drops exemplars by id; None drops all of them, and the detail that came of them. From any thread."""
        self._dropped = self._dropped or exemplar_ids is None
        for bank in (self.bank, *list(self._banks.values())):
            gone = [e.id for e in bank.exemplars()] if exemplar_ids is None else list(exemplar_ids)
            bank.remove(gone)
            self._engine.forget(gone)

    def close(self) -> None:
        self._watch.close()
        for bank in (self.bank, *self._banks.values()):
            self._engine.forget(e.id for e in bank.exemplars() if e.source == "call")

    # -- first half: what is in the frame, and what the engine is asked ------------------------------------------

    def begin(self, picture: Picture, received: float) -> Job:
        """Tracks the faces, feeds the bank, asks the engine when it is free. Never waits for the engine."""
        self._frame += 1
        self._learn()
        with self._stage("convert"):
            rgb = picture.rgb()
        faces = self._watch.update(rgb, picture.y)
        job = Job(picture, received, self._clock(), faces, tuple(headshot_of(f.box) for f in faces))
        if self._watch.failed:
            job.bypasses.append("error")
        elif not faces:
            job.bypasses.append("no_face")
        with self._stage("select"):
            self._feed(rgb, faces)
            job.eligible = tuple(self._eligible(job, rgb))
        if job.eligible:
            self._ask(job)
        return job

    def _feed(self, rgb: np.ndarray, faces: tuple[TrackedFace, ...]) -> None:
        """A bank belongs to one unbroken track: nobody is ever drawn with another's details."""
        tracks = [f.track for f in faces]
        for gone in set(self._banks) - set(tracks):
            self._engine.forget(e.id for e in self._banks.pop(gone).exemplars())
        if tracks and self._owner not in tracks:
            if self._owner is not None:
                self._engine.forget(e.id for e in self.bank.exemplars() if e.source == "call")
                self.bank.clear_call()
            free = [t for t in tracks if t not in self._banks]
            self._owner = free[0] if free else None
        for face in faces:
            self._bank_of(face.track).offer(rgb, face, self._frame)

    def _bank_of(self, track: int) -> ExemplarBank:
        if track == self._owner:
            return self.bank
        if track not in self._banks:
            self._banks[track] = self.bank.sibling()
        return self._banks[track]

    def _eligible(self, job: Job, rgb: np.ndarray) -> Iterator[Eligible]:
        """The faces small enough to enhance; notes why the others are not."""
        squares = [lr_square(headshot) for headshot in job.headshots]
        references = self._pace.references(sum(square.side**2 for square in squares if square))
        for face, headshot, square in zip(job.faces, job.headshots, squares, strict=True):
            if square is None:
                job.bypasses.append("close" if headshot.side >= self.bank.min_side else "too_large")
                continue
            lr, luma = (crop(image, square.x, square.y, square.side) for image in (rgb, job.picture.y))
            exemplars = self._bank_of(face.track).select(
                face.landmarks, yaw_degrees(face.landmarks), brightness(lr), square.side, self._engine.scale, references
            )
            if len(job.faces) > 1:  # a photo says who the stream's person is, not which of several faces
                exemplars = tuple(e for e in exemplars if e.source == "call")
            yield Eligible(face, square, lr, luma, exemplars)

    def _ask(self, job: Job) -> None:
        if self._request:
            return
        requests = [FaceRequest(e.lr, e.face.landmarks - (e.square.x, e.square.y), e.exemplars) for e in job.eligible]
        asked = self._clock()
        request = Request(job.eligible, tuple(self._engine.submit(requests)), job.received, asked)

        for future in request.futures:
            future.add_done_callback(lambda _: request.answers.append(self._clock()))
        job.request = self._request = request

    def _learn(self) -> None:
        """Lets go of an answered request, and of the faces in it."""
        request = self._request
        if request is None or not request.done():
            return
        self._request = None
        if not any(_error(f) for f in request.futures):  # a refusal comes quickly and says nothing of the pace
            faces = [(e.square.side**2, max(1, len(e.exemplars))) for e in request.eligible]
            self._pace.learn(request.received, request.asked, request.answered, faces)

    # -- second half: what came of it --------------------------------------------------------------------------

    def finish(self, job: Job) -> Enhanced:
        """Waits for the job's own faces while there is patience left; else carries the last detail along."""
        if self._dropped:
            self._dropped, self._late = False, None
            self._memory.clear()
        self._take_late()
        answered = job.request is not None and self._wait(job.request)
        start = time.perf_counter()
        patches: list[Patch] = []
        fresh: list[Eligible] = []
        for number, face in enumerate(job.eligible):
            future = job.request.futures[number] if job.request and answered else None
            found = self._patch(job, face, future)
            if found:
                patches.append(found[0])
                if found[1]:
                    fresh.append(face)
        patches += self._fading(job)
        for track in set(self._memory) - {f.track for f in job.faces}:
            del self._memory[track]
        gaps = [job.now - e.time for face in fresh for e in face.exemplars if e.source == "call"]
        outcome: Outcome = "passed"
        if patches:
            outcome = "enhanced" if fresh and len(fresh) == len(job.eligible) else "carried"
        gap = float(np.mean(gaps)) if gaps else None
        seconds = time.perf_counter() - start
        return Enhanced(job.picture, tuple(patches), job.headshots, outcome, tuple(job.bypasses), gap, seconds)

    def _wait(self, request: Request) -> bool:
        """Whether the request is answered within the patience; when it is not, later frames no longer wait."""
        patience = self._config.patience
        for future in request.futures:
            remaining = None
            if patience is not None:
                remaining = 0.0 if self._slow else max(0.0, request.received + patience - self._clock())
            if not wait_for((future,), remaining).done:
                self._slow, self._late = True, request
                return False
        return True

    def _take_late(self) -> None:
        """A late answer still gives detail to carry; one that would have been in time ends the time of not waiting."""
        request = self._late
        if request is None or not request.done():
            return
        self._late = None
        patience = self._config.patience
        if patience is not None and request.answered - request.received <= RELIEF * patience:
            self._slow = False
        for face, future in zip(request.eligible, request.futures, strict=True):
            memory = self._memory.get(face.face.track)
            if memory and not _error(future):
                added = difference(future.result(), face.lr)
                memory.detail = Detail(added, face.luma, face.face.landmarks, face.square, request.received)

    def _patch(self, job: Job, face: Eligible, future: Future[np.ndarray] | None) -> tuple[Patch, bool] | None:
        """A face's patch and whether it is fresh, or None when there is nothing to add; notes why."""
        memory = self._memory.setdefault(face.face.track, _Memory(time=job.received))
        carried = self._carried(job, memory, face.face.landmarks, face.square, face.luma)
        error = _error(future) if future else None
        fresh = future is not None and error is None
        if fresh:
            added = difference(future.result(), face.lr)
            if carried is not None:
                moved, trust = carried
                added += self._config.steadiness * trust * (moved - added)
            memory.detail = Detail(added, face.luma, face.face.landmarks, face.square, job.received)
        else:
            job.bypasses.append(_reason(job, error))
            if carried is None:
                memory.strength, memory.time = 0.0, job.received
                return None
            added = carried[0] * carried[1]
        return patch(face.square, added, self._fade(memory, job.received, 1.0)), fresh

    def _fading(self, job: Job) -> list[Patch]:
        """Faces that came too close to be enhanced keep their last detail while it fades away."""
        eligible = {e.face.track for e in job.eligible}
        patches = []
        for face, headshot in zip(job.faces, job.headshots, strict=True):
            memory = self._memory.get(face.track)
            if face.track in eligible or memory is None or memory.detail is None:
                continue
            strength = self._fade(memory, job.received, 0.0)
            side = 2 * round(headshot.side / 2)
            if side > LARGEST_FADING:  # it came close at once; carrying so much would hold the stream up
                strength = 0.0
            square = LrSquare(round(headshot.cx - side / 2), round(headshot.cy - side / 2), side, 1.0)
            luma = crop(job.picture.y, square.x, square.y, side)
            carried = self._carried(job, memory, face.landmarks, square, luma) if strength else None
            if carried is None:
                memory.detail, memory.strength = None, 0.0
                continue
            patches.append(patch(square, carried[0] * carried[1], strength))
        return patches

    def _carried(
        self, job: Job, memory: _Memory, landmarks: np.ndarray, square: LrSquare, luma: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        detail = memory.detail
        if detail is None:
            return None
        # An engine that answers late still answers: its detail is kept until the next can have come.
        rest = self._config.carry_for + 2 * min(self._pace.turnaround, 1.0) - (job.received - detail.time)
        if rest <= 0:
            return None
        moved, trust = self._carrier.carry(detail, luma, landmarks, square)
        return moved, trust * np.float32(min(1.0, 2 * rest / self._config.carry_for))  # old detail goes softly

    def _fade(self, memory: _Memory, now: float, target: float) -> float:
        """Moves a face's strength towards target, so that nothing pops; returns it."""
        step = max(0.0, now - memory.time) / self._config.fade
        memory.time = now
        memory.strength += max(-step, min(step, target - memory.strength))
        return memory.strength

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._on_stage(name, time.perf_counter() - start)


def _error(future: Future[np.ndarray]) -> BaseException | None:
    """What went wrong with a future that is done."""
    return CancelledError() if future.cancelled() else future.exception()


def _reason(job: Job, error: BaseException | None) -> str:
    """The bypass reason of a face without a fresh answer."""
    if error is not None:
        return "overload" if isinstance(error, Overload) else "error"
    return "late" if job.request else "overload"
