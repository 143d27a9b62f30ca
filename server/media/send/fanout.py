"""One encoding of one view, in a thread of its own, for all watchers who take the same codec.

renderer ─▶ slot ─▶ encoder thread ─▶ event loop ─▶ each watcher's track
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from hime_core.video.picture import Picture
from server.media.send.bitrate import SharedTarget
from server.media.send.encoder import Codec, Encoding, VideoEncoder
from server.media.send.packetize import packetizer
from server.media.send.tracks import EncodedFrame, VideoTrack
from server.media.slot import Slot
from server.observability.metrics import Metrics

KEYFRAME_INTERVAL = 0.5  # seconds between keyframes that watchers ask for
NARROW_INTERVAL = 3.0  # where the path is too narrow for the stream, which keyframes only make worse
WAITING = 2  # frames before the encoder: behind one that waited for its face, the next leaves at once
MAX_UNDELIVERED = 8  # encoded frames on their way to the event loop

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Shown:
    """A rendered frame. received: when its last packet came, clock seconds."""

    picture: Picture
    pts: int
    time_base: Fraction
    received: float


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
    ) -> None:
        self.codec = codec
        self.target = SharedTarget(encoding.bitrates, clock)
        self._names = ["libvpx"] if codec == "VP8" else [encoding.h264, "libx264"]
        self._encoding = encoding
        self._metrics = metrics
        self._loop = loop
        self._clock = clock
        self._make = encoder
        self._pack = packetizer(codec)
        self._tracks: dict[VideoTrack, bool] = {}  # and whether its path was too narrow when last heard of
        self._slot: Slot[Shown] = Slot(WAITING)
        self._undelivered = threading.Semaphore(MAX_UNDELIVERED)
        self._encoder: VideoEncoder | None = None
        self._reason = "start"
        self._due = float("-inf")  # when the next keyframe is wanted at the earliest
        self._last_keyframe = float("-inf")
        self._logged = False
        self._thread = threading.Thread(target=self._encode_all, name="video-encode", daemon=True)
        self._thread.start()

    def add(self, track: VideoTrack) -> None:
        """The track gets frames from the next keyframe on."""
        self._tracks[track] = False
        track.source = self
        self._update_target()
        self.request_keyframe(track, "join")

    def remove(self, track: VideoTrack) -> bool:
        """Whether anybody is left."""
        self._tracks.pop(track, None)
        self._update_target()
        return bool(self._tracks)

    def request_keyframe(self, track: VideoTrack, reason: str) -> None:
        interval = NARROW_INTERVAL if track.path.too_narrow and len(self._tracks) > 1 else KEYFRAME_INTERVAL
        due = self._last_keyframe + interval
        if due < self._due:
            self._due, self._reason = due, reason

    def path_changed(self, track: VideoTrack) -> None:
        if track not in self._tracks:
            return
        if track.path.too_narrow and not self._tracks[track]:
            self._metrics.narrow_path()
        self._tracks[track] = track.path.too_narrow
        self._update_target()

    def put(self, shown: Shown) -> None:
        """Never waits: the newest frame takes the place of one that the encoder has not come to."""
        if self._slot.put(shown) and not self._slot.closed:
            self._metrics.unsent("slow_encoder")

    def close(self) -> None:
        self._slot.close()
        self._undelivered.release()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        """Waits for the thread, after close()."""
        self._thread.join(timeout=5)

    def _update_target(self) -> None:
        self.target.update([track.path for track in self._tracks])

    # --- the encoder's thread

    def _encode_all(self) -> None:
        while True:
            self._undelivered.acquire()  # an event loop that has fallen behind gets nothing to queue
            shown = self._slot.get()
            if shown is None:
                self._encoder = None  # which holds frames
                return
            try:
                encoded = self._encode(shown)
            except Exception:
                self._failed()
                encoded = None
            if encoded is None:
                self._undelivered.release()
                continue
            try:
                self._loop.call_soon_threadsafe(self._deliver, encoded)
            except RuntimeError:  # the loop is closed
                return

    def _encode(self, shown: Shown) -> EncodedFrame | None:
        started = self._clock()
        picture = shown.picture
        reason = self._reason if started >= self._due else None
        if self._encoder is None or self._encoder.size != (picture.width, picture.height):
            if self._encoder is not None:
                reason = "resize"
            self._encoder = self._make(self._names[0], picture.width, picture.height, self._encoding.bitrates)
        frame = picture.to_frame()
        frame.pts, frame.time_base = shown.pts, shown.time_base
        packet = self._encoder.encode(frame, self.target.value, keyframe=reason is not None)
        self._metrics.stage("encode", self._clock() - started)
        if packet is None:
            self._metrics.unsent("slow_encoder")
            return None
        payloads, timestamp = self._pack(packet)
        if packet.is_keyframe:
            self._last_keyframe, self._due = started, float("inf")
            self._metrics.keyframe(reason or "encoder")
        return EncodedFrame(payloads, timestamp, packet.is_keyframe, shown.received)

    def _failed(self) -> None:
        """The next frame gets a new encoder: in software, as the failed one may have been the graphics card's."""
        self._metrics.unsent("error")
        self._metrics.failure("encoder")
        if not self._logged:
            self._logged = True
            log.exception("a frame could not be encoded, the next one gets a new encoder")
        self._names = self._names[-1:]
        self._encoder = None
        self._due, self._reason = float("-inf"), "error"

    def _deliver(self, frame: EncodedFrame) -> None:
        self._undelivered.release()
        for track in list(self._tracks):  # as one whose connection is lost leaves
            track.put(frame)
