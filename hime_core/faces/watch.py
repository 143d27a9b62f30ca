"""Detection now and then, tracking in every frame: one stream's faces."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from hime_core.arrays import Array
from hime_core.faces.detector import IDLE, LARGE, Detection, StreamDetector
from hime_core.faces.geometry import Box
from hime_core.faces.tracker import FaceTracker, TrackedFace

log = logging.getLogger(__name__)

SHARE = 0.25  # of one processor's time goes to detection at most ...
SLOWEST = 1.0  # ... unless detections would come further apart than this, seconds
SMOOTHING = 0.3


class FaceWatch:
    """Runs the detector every `every` frames, less often while a small picture shows no face; the tracker on each.

    in_step: the detector is waited for (for files); else it works beside the stream, one frame at a time, and what it
    finds is brought to the present by the tracker. Where detection turns out slow, as on a busy machine, it is done
    less often, and as before when it is fast again. timed: a context manager by stage name, for measurements.
    """

    def __init__(
        self,
        detector: StreamDetector,
        every: int,
        in_step: bool,
        timed: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._detector, self._every, self._timed = detector, every, timed
        self._tracker = FaceTracker()
        self._worker = None if in_step else ThreadPoolExecutor(1, "hime-detect")
        self._pending: tuple[Future[list[Detection]], Array] | None = None
        self._clock = clock
        self._wait = 0  # frames until the detector's next turn
        self._rest = 0.0  # the time before which there is none
        self._seconds = 0.0  # that a detection takes
        self._logged = False
        self.failed = False  # whether the detector raised an exception the last time

    def update(self, rgb: Callable[[], Array], gray: Array) -> tuple[TrackedFace, ...]:
        """The faces in the next frame. rgb: gives it as uint8 (H, W, 3), called from any thread, where it is to be
        searched; gray: uint8 (H, W), a change of size starts anew."""
        with self._timed("track"):
            faces = self._tracker.update(gray)
            if self._pending and self._pending[0].done():
                future, seen = self._pending
                self._pending = None
                error, self.failed = future.exception(), future.exception() is not None
                if error and not self._logged:  # the next ones will mostly be the same
                    self._logged = True
                    log.error("the face detector failed", exc_info=error)
                if seen.shape == gray.shape and not error:
                    faces = self._tracker.correct(future.result(), seen)
        self._wait -= 1
        if self._pending is None and self._wait <= 0 and (self._worker is None or self._clock() >= self._rest):
            self._wait = self._every * (1 if faces or max(gray.shape) > LARGE else IDLE)
            last = tuple(f.box for f in faces)
            if self._worker is None:
                faces = self._tracker.correct(self._detect(rgb, last), gray)
            else:
                self._pending = (self._worker.submit(self._detect, rgb, last), gray)
        return tuple(faces)

    def clear(self) -> None:
        """Follows nobody any longer, and searches the next frame that comes."""
        self._tracker.clear()
        self._wait = 0

    def close(self) -> None:
        if self._worker:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _detect(self, rgb: Callable[[], Array], last: tuple[Box, ...]) -> list[Detection]:
        start, image = self._clock(), rgb()
        try:
            with self._timed("detect"):
                return self._detector.detect(image, last)
        finally:
            seconds = self._clock() - start
            self._seconds += (seconds - self._seconds) * (SMOOTHING if self._seconds else 1.0)
            self._rest = start + min(self._seconds / SHARE, SLOWEST)
