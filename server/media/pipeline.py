"""One published video stream: newest frame in, enhanced, rendered once per watched view, encoded once per codec.

    decoder thread ─▶ slot ─▶ front thread: Enhancer.begin ─▶ finish thread: Enhancer.finish, render ─▶ encoders' slots
                                   └─▶ original views: render ─▶ encoders' slots

Original views do not wait for the engine, and the engine is asked for nothing while only they are watched; frames then
do without the finish thread as well.
Threads and queues belong to one stream, so that a slow stream holds up no other, and every one of them is bounded.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import av

from hime_core.compositing.layout import Layout, View
from hime_core.compositing.render import Renderer
from hime_core.stream.enhancer import Enhancer
from hime_core.stream.job import Enhanced, Job
from hime_core.stream.ladder import Rung
from hime_core.video.coding import Coding
from hime_core.video.picture import Picture
from server.load.stream import StreamLoad
from server.media.rates import RateMeter, Smoothed
from server.media.receive.capture import CaptureClock
from server.media.receive.freezes import Freezes
from server.media.receive.refusals import Refusals
from server.media.send.encoder import Encoding
from server.media.send.tracks import VIDEO_CLOCK, VideoTrack
from server.media.slot import Slot
from server.media.views import Received, Views
from server.observability.metrics import Metrics

# Frames between begin() and the watchers. One may wait for the engine while the next ones, which do not, line up
# behind it; but no more of them than get through within the budget, or they would only grow old.
MAX_IN_FLIGHT = 5
FINISH_BUDGET = 0.15  # seconds
JOIN_SECONDS = 5.0  # that a thread is waited for

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _InFlight:
    received: Received
    picture: Picture
    job: Job | None  # None where begin() failed, or nothing is to be done


class VideoPipeline:
    """Takes one stream's frames from any thread; every one counts once: enhanced, carried, passed or dropped.

    Does nothing with them before start(), so that the people whom its enhancer knows may still be another pipeline's.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        metrics: Metrics,
        on_first_frame: Callable[[], None] = lambda: None,
        encoding: Encoding = Encoding(),  # noqa: B008  # frozen
        renderer: Callable[[View, Layout, int | None], Renderer] = Renderer,
        clock: Callable[[], float] = time.monotonic,
        untouched: bool = False,
        load: StreamLoad | None = None,
    ) -> None:
        """The enhancer is closed with the pipeline. on_first_frame: called once, in the decoder's thread. untouched: no
        face is looked for, and none enhanced, whatever is watched. load: the stream's part in the machine's."""
        self.load = load or StreamLoad()
        self.load.useful, self.load.shrinks = self._useful, lambda: self.views.shrinks()
        self.outcomes: Counter[str] = Counter()
        self.rate_in = RateMeter(clock=clock)
        self.rate_out = RateMeter(clock=clock)
        self.capture = CaptureClock(VIDEO_CLOCK)
        self.frames = 0  # begun so far, which is the number of the newest
        self._enhancer = enhancer
        self._untouched = untouched
        self._decoding: Callable[[], None] | None = None
        self._metrics = metrics
        self._on_first_frame: Callable[[], None] | None = on_first_frame
        self._clock = clock
        self.views = Views(metrics, self.capture, encoding, self._error, renderer, clock, self.load)
        self._freezes = Freezes()
        self.refusals = Refusals(clock)
        self._slot: Slot[Received] = Slot()
        self._jobs: queue.Queue[_InFlight | None] = queue.Queue(MAX_IN_FLIGHT + 1)
        self._flow = threading.Condition()
        self._in_flight = 0
        self._lock = threading.Lock()
        self._finishing = Smoothed()
        self._logged: set[str] = set()
        self._threads = [
            threading.Thread(target=self._front, name="video-front", daemon=True),
            threading.Thread(target=self._finish, name="video-finish", daemon=True),
        ]

    def start(self) -> None:
        """From here on, frames are looked at and shown; until then the newest one waits. Not after stop().

        Raises RuntimeError where there are too many threads; close() is then still to follow.
        """
        for thread in self._threads:
            thread.start()

    # --- in: called by the decoder thread

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None = None) -> None:
        """received: when the frame's last packet came, in clock seconds; coding: None where it is not known."""
        self._metrics.fps_in()
        self.refusals.passed()
        if coding is not None:
            self._metrics.quantizer(coding.step)
        self.rate_in.add()
        if self._freezes.add(self._clock()):
            self._metrics.freeze()
        if self._slot.put(Received(frame, received, coding)):
            self._count("dropped")
            if self.views.watched:
                self.load.felt.lost()
        self._decoding = self._decoding or self.load.spent.thread("decode")
        self._decoding()
        if self._on_first_frame is not None:
            on_first_frame, self._on_first_frame = self._on_first_frame, None
            on_first_frame()

    def lost(self, frames: int) -> None:
        """Frames that were received and thrown away because the decoder fell behind."""
        for _ in range(frames):
            self._metrics.fps_in()
            self.rate_in.add()
            self._count("dropped")
        if self.views.watched:
            self.load.felt.lost(frames)

    def refused(self, reason: str) -> None:
        """A frame was received and left out, as a rule says: pixels, size_changes or frame_rate."""
        self._metrics.refused(reason)
        self._metrics.fps_in()
        self.rate_in.add()
        self.refusals.add(reason)
        self._count("dropped")

    def packets(self, outcome: str, count: int) -> None:
        self._metrics.packets(outcome, count)

    def skipped(self, frames: int) -> None:
        self._metrics.skipped(frames)

    def asked_for_keyframe(self, reason: str) -> None:
        self._metrics.keyframe_request(reason)

    def stage(self, name: str, seconds: float) -> None:
        self._metrics.stage(name, seconds)

    def failed(self, part: str) -> None:
        self._metrics.failure(part)

    # --- out: called in the event loop

    def watch(
        self, view: View, layout: Layout, shown: int | None = None, track: VideoTrack | None = None
    ) -> VideoTrack:  # fmt: skip
        """As `Views.watch`."""
        return self.views.watch(view, layout, shown, track)

    @property
    def latency(self) -> float | None:
        """Seconds from a frame's last packet to its encoded packets, smoothed; None while nobody watches."""
        return self.views.latency

    def end_tracks(self) -> None:
        self.views.end_tracks()

    def stop(self) -> None:
        """Takes no more frames, so that another pipeline may use the people that this one's enhancer knows."""
        if self._slot.close():
            self._count("dropped")
        with self._flow:
            self._flow.notify_all()

    def close(self) -> None:
        """Ends the tracks and waits for the threads. Blocks: not for the event loop's thread."""
        self.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=JOIN_SECONDS)
        if any(thread.is_alive() for thread in self._threads):
            log.error("a stream's frames hang; their threads are left behind")
            self._metrics.failure("pipeline")
        self.views.join()
        self._enhancer.close()

    # --- the two threads

    def _front(self) -> None:
        note = self.load.spent.thread("faces")
        while (received := self._next()) is not None:
            try:
                item, waits = self._begun(received)
            except Exception:  # not even as it came: the frame is lost, the stream is not
                self._error("front")
                self._count("dropped")
                continue
            if waits:
                self._jobs.put(item)
            else:
                self._end(item)
            note()
        self._jobs.put(None)

    def _begun(self, received: Received) -> tuple[_InFlight, bool]:
        """The frame on its way, and whether it is to wait for an answer, or behind one that does."""
        picture = Picture.from_frame(received.frame)
        self.frames += 1
        self.views.frame_size = picture.width, picture.height
        self.views.show_originals(picture, (), received, ("native", "upscale"))
        rung = self.load.rung
        watched = not self._untouched and self.views.any(lambda view, layout: view != "original")
        followed = self.views.any(_zooms)
        job = None
        try:
            if not self._untouched and not rung.enlarges and not followed:
                self._enhancer.rest()
            elif not self._untouched:
                job = self._enhancer.begin(picture, received.time, watched, followed, received.coding, rung)
        except Exception:
            self._error("begin")
        self.views.show_originals(picture, job.headshots if job else (), received, ("zoom",))
        with self._flow:
            waits = (watched and rung.enhances) or self._in_flight > 0
            self._in_flight += 1
        return _InFlight(received, picture, job), waits

    def _next(self) -> Received | None:
        """The newest frame, taken only when the finish thread can soon take it on."""
        with self._flow:
            self._flow.wait_for(lambda: self._slot.closed or self._in_flight < self._most_in_flight())
        return self._slot.get()

    def _most_in_flight(self) -> int:
        each = self._finishing.value or 0.0
        return MAX_IN_FLIGHT if each * MAX_IN_FLIGHT <= FINISH_BUDGET else max(1, int(FINISH_BUDGET / each))

    def _finish(self) -> None:
        note = self.load.spent.thread("show")
        while (item := self._jobs.get()) is not None:
            self._end(item)
            note()

    def _end(self, item: _InFlight) -> None:
        """In the finish thread, or, where nothing is to be waited for and no frame is ahead, in the front thread."""
        started = self._clock()
        try:
            # Enlarging the frame needs no answer of the engine: it is done while that is awaited.
            views = self.views.place(item.picture, item.job.headshots if item.job else ())
            placing = self._clock() - started
            enhanced = self._finished(item)
            composing = self._clock()
            whole = self.views.show(views, enhanced.patches, item.received)
            self.rate_out.add()
            self._metrics.fps_out()
            self._count(enhanced.outcome if whole else "passed")
            self._metrics.stage("composite", placing + enhanced.seconds + self._clock() - composing)
        except Exception:  # not even as it came: the frame is lost, the stream is not
            self._error("show")
            self._count("dropped")
        finally:
            self._finishing.add(self._clock() - started)
            with self._flow:
                self._in_flight -= 1
                self._flow.notify_all()

    def _finished(self, item: _InFlight) -> Enhanced:
        if item.job is None:
            return _passed(item.picture)
        try:
            enhanced = self._enhancer.finish(item.job)
            for reason in enhanced.bypasses:
                self._metrics.bypass(reason)
            if enhanced.reference_gap is not None:
                self._metrics.reference_gap(enhanced.reference_gap)
            if enhanced.demand is not None:
                self._metrics.demand(enhanced.demand)
            return enhanced
        except Exception:
            self._error("finish")
            return _passed(item.picture)

    def _useful(self, rung: Rung) -> bool:
        """Whether that rung costs less than the one above it, as the stream is watched now."""
        if not rung.enlarges:
            return not self._untouched or self.views.shrinks() < 1
        costs = self.views.any(lambda view, layout: view != "original" or (layout == "zoom" and not rung.enhances))
        return not self._untouched and costs

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
        self._metrics.frame(outcome)

    def _error(self, where: str) -> None:
        """Counts an exception and logs the first of its kind, as the next frames will mostly repeat it."""
        self._metrics.bypass("error")
        if where not in self._logged:
            self._logged.add(where)
            log.exception("video frames pass unenhanced: %s failed", where)


def _zooms(view: View, layout: Layout) -> bool:
    return layout == "zoom"


def _passed(picture: Picture) -> Enhanced:
    """The frame as it came."""
    return Enhanced(picture, (), (), "passed", (), None)
