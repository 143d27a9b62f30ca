"""One stream: frame in, frame out. Owns detect -> bank -> engine -> detail."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from hime_core.arrays import F32, U8
from hime_core.compositing.detail import Patch, difference, luma_of
from hime_core.compositing.eligible import Eligible
from hime_core.compositing.layout import WIDTHS, enlargement
from hime_core.compositing.steady import SteadyDetail
from hime_core.engine.protocol import Engine, FaceRequest, Late, Overload
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.damage import DamageEstimator
from hime_core.faces.detector import StreamDetector
from hime_core.faces.geometry import (
    LR_SIDES,
    FaceSquare,
    Headshot,
    crop,
    face_square,
    headshot_of,
    own_square,
    resized,
)
from hime_core.faces.quality import resolved, yaw_degrees
from hime_core.faces.recognition import Recogniser
from hime_core.faces.registration import luma
from hime_core.faces.tracker import TrackedFace
from hime_core.faces.watch import FaceWatch
from hime_core.people.people import People
from hime_core.people.sightings import Sightings
from hime_core.stream.demand import REFERENCES, Demand
from hime_core.stream.gate import Gate
from hime_core.stream.job import Enhanced, Job, OnDemand, Outcome, Request, SeenFace
from hime_core.stream.ladder import WHOLE, Rung
from hime_core.video.coding import Coding
from hime_core.video.picture import Picture

RELIEF = 0.8  # of the patience: an engine that answers within it is waited for again
LARGEST = 384  # headshots, pixels: four times the largest LR side; larger ones would be shown at less than they have
GLANCE_EVERY = 3  # frames, while nobody sees the faces: enough to know them and to feed the bank


@dataclass(frozen=True)
class EnhancerConfig:
    """patience: seconds after its reception that a frame waits for its faces at most; None: as long as it takes,
    with detection in step (for files). references: exemplars per face. detect_every: frames between detections.
    carry_for: seconds that detail is carried
    along while no newer comes. fade: seconds from nothing to full detail and back.
    steadiness: share of carried detail mixed into fresh one."""

    patience: float | None = 0.12
    references: int = REFERENCES
    detect_every: int = 5
    carry_for: float = 0.6
    fade: float = 0.3
    steadiness: float = 0.5


class Enhancer:
    """begin() and finish() are each called in frame order, from one thread each.

    At most one request of a stream is at the engine. While the engine answers slower than `patience`, frames do not
    wait for it: they leave with carried detail or as they are, and waiting resumes when it answers in time again.
    """

    def __init__(
        self,
        engine: Engine,
        detector: StreamDetector,
        people: People,
        config: EnhancerConfig = EnhancerConfig(),
        clock: Callable[[], float] = time.monotonic,
        on_stage: Callable[[str, float], None] = lambda stage, seconds: None,
        damage: DamageEstimator | None = None,
        gate: Gate | None = None,
        recogniser: Recogniser | None = None,
        on_recognition: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        """people: who is known already; they outlive the enhancer. damage: reads what a codec took from the picture
        itself; without it, only the bitstream tells. gate: another than the usual one. recogniser: tells whose face it
        is; without it exemplars last as long as an unbroken track, and photos go to nobody. on_recognition: is told
        what came of it, as Sightings counts it."""
        self.people = people
        self.seen: tuple[SeenFace, ...] = ()  # of the last frame that was looked at; may be read from any thread
        self._damage = damage
        self._engine, self._config = engine, config
        self._clock, self._on_stage = clock, on_stage
        self._watch = FaceWatch(detector, config.detect_every, config.patience is None, self._stage, clock)
        self._steady = SteadyDetail(config.carry_for, config.fade, config.steadiness)
        self._gate = gate or Gate()
        self._sightings = Sightings(people, recogniser, config.patience is None, self._stage, clock, on_recognition)
        self._stream = object()  # its name at the engine
        self._frame = 0
        self._looked = -GLANCE_EVERY  # the frame that was last searched for faces
        self._request: Request | None = None  # the last one, begin()'s
        self._late: Request | None = None  # one that finish() did not wait for
        self._slow = False
        self.demand = Demand(config.patience, config.references)

    def close(self) -> None:
        self._watch.close()
        self._sightings.close()

    # -- first half: what is in the frame, and what the engine is asked ------------------------------------------

    def begin(
        self,
        picture: Picture,
        received: float,
        watched: bool = True,
        followed: bool = True,
        coding: Coding | None = None,
        rung: Rung = WHOLE,
    ) -> Job:
        """Tracks the faces, feeds the bank, asks the engine when it is free. Never waits for the engine.

        watched: whether anybody will see what the engine makes of it; the engine is left alone otherwise. followed:
        whether anybody will see where the faces are; without either, only some frames are looked at, for the bank and
        so that the faces are known to whoever comes. coding: what the frame's bitstream says of it. rung: what the
        machine has time for.
        """
        unseen = "shed" if watched and not rung.enhances else "unwatched"
        watched, followed = watched and rung.enhances, followed and rung.enhances
        self._frame += 1
        self._learn()
        if not watched and not followed and self._frame - self._looked < GLANCE_EVERY:
            return Job(picture, received, self._clock(), watched=False, unseen=unseen, bypasses=[unseen])
        self._looked = self._frame
        rgb = OnDemand(lambda: self._converted(picture))  # few frames need it
        faces = self._sightings.update(self._watch.update(rgb, picture.y), rgb, self._frame)
        step = coding.step if coding else None
        job = Job(picture, received, self._clock(), step, faces, tuple(headshot_of(f.box) for f in faces))
        if self._watch.failed:
            job.bypasses.append("error")
        elif not faces:
            job.bypasses.append("no_face")
        self._gate.keep(face.track for face in faces)
        job.watched, job.unseen = watched, unseen
        if not followed:
            job.shown = enlargement(picture.width, picture.height, WIDTHS[-1])
        with self._stage("select"):
            self._measure(job)
            self._feed(rgb, faces, job.step)
            job.eligible = tuple(self._eligible(job, rung))
        if job.eligible and watched:
            job.demand = self.demand.level.name
        if job.eligible and job.ask and watched and self._request is None:
            self._ask(job)
        return job

    def rest(self) -> None:
        """Instead of begin(), for frames in which nobody is looked for. Who is in view afterwards is found anew: it may
        be somebody else in the same place."""
        self._frame += 1
        self._learn()
        self._watch.clear()
        self._sightings.clear()
        self.seen = tuple(replace(face, reason=face.reason or "shed") for face in self.seen)

    def _converted(self, picture: Picture) -> U8:
        with self._stage("convert"):
            return picture.rgb()

    def _measure(self, job: Job) -> None:
        """Now and then, what the faces show and what a codec has left in them."""
        for face, headshot in zip(job.faces, job.headshots, strict=True):
            if headshot.side <= LARGEST and self._gate.measures(face.track, self._frame):
                traces = None
                if self._damage:
                    traces = self._damage.step(luma(cut(job.picture, face_square(headshot))))
                shows = resolved(luma(cut(job.picture, own_square(headshot))))
                self._gate.measured(face.track, self._frame, shows, traces)

    def _feed(self, rgb: Callable[[], U8], faces: tuple[TrackedFace, ...], step: float | None) -> None:
        for face in faces:
            sighting = self._sightings.of(face.track)
            if sighting.verdict != "covered":
                sighting.person.bank.offer(rgb, face, self._frame, self._gate.step(face.track, step))

    def _eligible(self, job: Job, rung: Rung) -> list[Eligible]:
        """The faces to enhance; notes why the others are not."""
        found, seen = [], []
        for face, headshot in zip(job.faces, job.headshots, strict=True):
            eligible, reason = self._considered(job, face, headshot)
            sighting = self._sightings.of(face.track)
            if eligible:
                found.append(eligible)
                reason = "" if job.watched else job.unseen
            else:
                reason = "unrecognised" if reason == "no_exemplar" and sighting.verdict != "new" else reason
                job.bypasses.append(reason)
            used = len(eligible.exemplars) if eligible else 0
            seen.append(SeenFace(sighting.person.id, sighting.verdict, round(headshot.side), used, reason or None))
        self.seen = tuple(seen)
        plan = self.demand.plan([face.side for face in found], job.now, rung.demand, rung.every)
        job.ask = plan.ask
        return [
            replace(face, side=side, exemplars=face.exemplars[: plan.references])
            for face, side in zip(found, plan.sides, strict=True)
        ]

    def _considered(self, job: Job, face: TrackedFace, headshot: Headshot) -> tuple[Eligible | None, str]:
        """The face as it is to be enhanced, or why it is not."""
        if headshot.side > LARGEST:
            return None, "too_large"
        track, square, bank = face.track, face_square(headshot), self._sightings.of(face.track).person.bank
        known = self._config.references > 0 and not bank.empty
        carrying = luma_of(job.picture.y, square)
        exemplars: tuple[Exemplar, ...] = ()
        if known:
            light = (float(carrying.mean()) - 16) / 219  # of limited-range luma
            exemplars = bank.select(
                face.landmarks, yaw_degrees(face.landmarks), light, min(square.side, LR_SIDES[-1]),
                self._engine.scale, self._config.references, self._gate.least(track),
            )  # fmt: skip
        shown = enlargement(job.picture.width, job.picture.height)
        verdict = self._gate.judge(track, square.side, exemplars, known, job.step, shown)
        if verdict.side is None:
            return None, verdict.reason
        image = cut(job.picture, square)
        return Eligible(face, square, image, carrying, exemplars, verdict.side, verdict.strength), ""

    def _ask(self, job: Job) -> None:
        asked = self._clock()
        deadline = math.inf if self._config.patience is None else asked + self._config.patience
        requests = [self._face_request(face, deadline) for face in job.eligible]
        request = Request(job.eligible, tuple(self._engine.submit(requests)), job.received, asked, job.shown)
        answers = request.answers  # alone: a future that had its own request would be there until garbage is collected
        for future in request.futures:
            future.add_done_callback(lambda _: answers.append(self._clock()))
        self.demand.asked(asked)
        job.request = self._request = request

    def _face_request(self, face: Eligible, deadline: float) -> FaceRequest:
        landmarks = face.face.landmarks - (face.square.x, face.square.y)
        landmarks = (landmarks + 0.5) * (face.side / face.square.side) - 0.5
        lr = resized(face.image, face.side)
        return FaceRequest(lr, landmarks.astype(np.float32), face.exemplars, self._stream, deadline)

    def _learn(self) -> None:
        """Lets go of an answered request, and of the faces in it."""
        request = self._request
        if request is None or not request.done():
            return
        self._request = None
        errors = [error for f in request.futures if (error := _error(f))]
        if not errors:
            self.demand.learn(request.received, request.asked, request.answered, request.load)
        elif any(isinstance(error, Overload | Late) for error in errors):
            self.demand.refused(request.load)

    # -- second half: what came of it --------------------------------------------------------------------------

    def finish(self, job: Job) -> Enhanced:
        """Waits for the job's own faces while there is patience left; else carries the last detail along."""
        self._take_late()
        answered = job.request is not None and self._wait(job.request)
        start = time.perf_counter()
        patches: list[Patch] = []
        fresh: list[Eligible] = []
        # An engine that answers late still answers: its detail is kept until the next can have come.
        longer = 2 * min(self.demand.turnaround, 1.0)
        for number, face in enumerate(job.eligible):
            future = job.request.futures[number] if job.request and answered else None
            error = _error(future) if future else None
            if future and not error:
                fresh.append(face)
                patches.append(self._steady.fresh(face, _added(face, future.result(), job.shown), job.received, longer))
                continue
            job.bypasses.append(_reason(job, error))
            if patch := self._steady.carried(face, job.received, longer):
                patches.append(patch)
        eligible = {face.face.track for face in job.eligible}
        for tracked, headshot in zip(job.faces, job.headshots, strict=True):
            if tracked.track not in eligible:
                patch = self._steady.fading(tracked, headshot, job.picture.y, job.received, longer)
                patches += [patch] if patch else []
        self._steady.keep(face.track for face in job.faces)
        gaps = [job.now - e.time for face in fresh for e in face.exemplars if e.source == "call"]
        outcome: Outcome = "passed"
        if patches:
            outcome = "enhanced" if fresh and len(fresh) == len(job.eligible) else "carried"
        gap = float(np.mean(gaps)) if gaps else None
        seconds = time.perf_counter() - start
        bypasses = tuple(job.bypasses)
        return Enhanced(job.picture, tuple(patches), job.headshots, outcome, bypasses, gap, seconds, job.demand)

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
            if not _error(future):
                added = _added(face, future.result(), request.shown)
                self._steady.late(face, added, request.received)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._on_stage(name, time.perf_counter() - start)


def _added(face: Eligible, sr: U8, shown: float) -> F32:
    """What the network added to a face, at no more pixels than are shown of it."""
    side = math.ceil(min(sr.shape[0], face.square.side * shown))
    return difference(resized(sr, side), resized(face.image, side))


def cut(picture: Picture, square: FaceSquare) -> U8:
    """`geometry.crop` of the picture in RGB, of which no more is converted than lies in the square."""
    left, top = min(max(0, square.x), picture.width - 1), min(max(0, square.y), picture.height - 1)
    part = picture.part(left, top, max(left + 1, square.x + square.side), max(top + 1, square.y + square.side))
    return crop(part.rgb(), square.x - left // 2 * 2, square.y - top // 2 * 2, square.side)


def _error(future: Future[U8]) -> BaseException | None:
    """What went wrong with a future that is done."""
    return CancelledError() if future.cancelled() else future.exception()


def _reason(job: Job, error: BaseException | None) -> str:
    """The bypass reason of a face without a fresh answer."""
    if isinstance(error, Late):
        return "late"
    if error is not None:
        return "overload" if isinstance(error, Overload) else "error"
    if not job.watched:
        return job.unseen
    return "late" if job.request else "overload"
