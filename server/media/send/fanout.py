"""A view as all watchers who take the same codec get it: encoded in a thread of its own, in full, or reduced, or both,
as their paths need it.

renderer ─▶ slot ─▶ encoders' thread ─▶ event loop ─▶ each watcher's track, from the layer that suits its path
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.load.stream import StreamLoad
from server.media.send.bitrate import LOWER_STEP, PathEstimate
from server.media.send.encoder import Codec, Encoding, VideoEncoder
from server.media.send.layer_encoder import LayerEncoder, Shown
from server.media.send.layers import Layer, LayerChoice, reduced
from server.media.send.tracks import EncodedFrame, VideoTrack
from server.media.send.trial import Unpadded
from server.media.slot import Slot
from server.observability.metrics import Metrics

KEYFRAME_INTERVAL = 0.5  # seconds between keyframes that watchers ask for
NARROW_INTERVAL = 3.0  # where the path is too narrow for the stream, which keyframes only make worse
REVIEW = 0.1  # seconds between two looks at everybody's path, but for one that has become narrower
WAITING = 2  # frames before the encoder: behind one that waited for its face, the next leaves at once
MAX_UNDELIVERED = 8  # encoded frames on their way to the event loop


@dataclass
class _Seat:
    """A watcher's. layer: that it gets, None before the first keyframe; narrow: whether its path was too narrow for the
    reduced one when last heard of."""

    choice: LayerChoice
    layer: Layer | None = None
    narrow: bool = False


class EncodedStream:
    """put() and close() may be called from any thread, the rest is for the event loop's."""

    def __init__(
        self,
        codec: Codec,
        encoding: Encoding,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        encoder: Callable[..., VideoEncoder] = VideoEncoder,
        load: StreamLoad | None = None,
    ) -> None:
        self.codec = codec
        names = ["libvpx"] if codec == "VP8" else [encoding.h264, "libx264"]
        self.full = LayerEncoder(codec, names, encoding.bitrates, metrics, clock, encoder)
        self.reduced = LayerEncoder(codec, names, encoding.bitrates.reduced, metrics, clock, encoder)
        self._bitrates = encoding.bitrates
        self._metrics = metrics
        self._load = load or StreamLoad()
        self._loop = loop
        self._clock = clock
        self._seats: dict[VideoTrack, _Seat] = {}
        self._needed: frozenset[Layer] = frozenset()  # layers that somebody gets, or is to get
        self._reviewed = float("-inf")
        self._widest: VideoTrack | None = None  # of the best path, when all were last looked at
        self._slot: Slot[Shown] = Slot(WAITING)
        self._undelivered = threading.Semaphore(MAX_UNDELIVERED)
        self._thread = threading.Thread(target=self._encode_all, name="video-encode", daemon=True)
        self._thread.start()

    def add(self, track: VideoTrack) -> None:
        """The track gets frames from the next keyframe of its layer on."""
        seat = self._seats[track] = _Seat(LayerChoice(self._bitrates, self._clock))
        track.source = self
        self._find_widest()
        seat.choice.begin(track.path.rate, self._best)
        self._share_out()
        self.request_keyframe(track, "join")

    def remove(self, track: VideoTrack) -> bool:
        """Whether anybody is left."""
        self._seats.pop(track, None)
        self._find_widest()
        self._share_out()
        return bool(self._seats)

    def request_keyframe(self, track: VideoTrack, reason: str) -> None:
        seat = self._seats.get(track)
        if seat is None:
            return
        interval = NARROW_INTERVAL if track.path.too_narrow and len(self._seats) > 1 else KEYFRAME_INTERVAL
        self._layer(seat.choice.layer).request_keyframe(interval, reason)

    def path_changed(self, track: VideoTrack) -> None:
        seat = self._seats.get(track)
        if seat is None:
            return
        if track.path.too_narrow and not seat.narrow:
            self._metrics.narrow_path()
        seat.narrow = track.path.too_narrow
        if self._clock() - self._reviewed >= REVIEW:
            self._reviewed = self._clock()
            self._find_widest()
            for other, its in self._seats.items():
                self._review(other, its, self._best)
            self._share_out()
            return
        if track is self._widest:  # a path is not to be compared with what it carried itself
            self._find_widest()
        changed = self._review(track, seat, max(self._best, track.path.rate))
        if changed or track.path.rate < LOWER_STEP * self._layer(seat.choice.layer).target.value:
            self._share_out()

    def put(self, shown: Shown) -> None:
        """Never waits: the newest frame takes the place of one that the encoder has not come to."""
        if self._slot.put(shown) and not self._slot.closed:
            self._metrics.unsent("slow_encoder")
            self._load.felt.lost()

    def close(self) -> None:
        self._slot.close()
        self._undelivered.release()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        """Waits for the thread, after close()."""
        self._thread.join(timeout=5)

    def _layer(self, layer: Layer) -> LayerEncoder:
        return self.full if layer == "full" else self.reduced

    def _find_widest(self) -> None:
        self._widest = max(self._seats, key=lambda track: track.path.rate, default=None)

    @property
    def _best(self) -> float:
        """What the best path to a watcher carries, bit/s."""
        return 0.0 if self._widest is None else self._widest.path.rate

    def _review(self, track: VideoTrack, seat: _Seat, best: float) -> bool:
        """Whether the watcher is to get another layer."""
        unpadded = None if track.padded else Unpadded(track.path.sending, track.loss)
        changed = seat.choice.update(track.path.rate, best, unpadded)
        if changed:
            self._metrics.layer(seat.choice.layer)
            self.request_keyframe(track, "layer")
        return changed

    def _share_out(self) -> None:
        """Each layer's bitrate is set by those whom it is meant for; by those who only try it where there are no
        others."""
        paths: dict[Layer, list[PathEstimate]] = {"full": [], "reduced": []}
        trying: list[PathEstimate] = []
        for track, seat in self._seats.items():
            (trying if seat.choice.tries else paths[seat.choice.layer]).append(track.path)
            track.reduced = seat.choice.layer == "reduced"
        paths["full"] = paths["full"] or trying
        for layer, its in paths.items():
            if its:
                self._layer(layer).target.update(its)
        layers = (layer for seat in self._seats.values() for layer in (seat.choice.layer, seat.layer))
        self._needed = frozenset(layer for layer in layers if layer is not None)

    def _deliver(self, frames: Mapping[Layer, EncodedFrame]) -> None:
        self._undelivered.release()
        for track, seat in list(self._seats.items()):  # as one whose connection is lost leaves
            wanted = seat.choice.layer
            if wanted != seat.layer and wanted in frames and frames[wanted].keyframe:
                seat.layer = wanted
                self._share_out()
            if seat.layer is not None and seat.layer in frames:
                track.put(frames[seat.layer])

    # --- the encoders' thread

    def _encode_all(self) -> None:
        note = self._load.spent.thread("encode")
        while True:
            self._undelivered.acquire()  # an event loop that has fallen behind gets nothing to queue
            shown = self._slot.get()
            if shown is None:
                self.full.stop()
                self.reduced.stop()
                return
            frames = self._encode(shown)
            note()
            if not frames:
                self._undelivered.release()
                continue
            try:
                self._loop.call_soon_threadsafe(self._deliver, frames)
            except RuntimeError:  # the loop is closed
                return

    def _encode(self, shown: Shown) -> dict[Layer, EncodedFrame]:
        """Both layers of a frame reach the event loop together, so that whoever changes between them misses none."""
        started = self._clock()
        frames: dict[Layer, EncodedFrame | None] = {}
        needed = self._needed
        if "reduced" in needed:
            frames["reduced"] = self.reduced.encode(shown, reduced(shown.picture))
        else:
            self.reduced.stop()
        if "full" in needed:
            frames["full"] = self.full.encode(shown, shown.picture)
        else:
            self.full.stop()
        self._metrics.stage("encode", self._clock() - started)
        return {layer: frame for layer, frame in frames.items() if frame is not None}
