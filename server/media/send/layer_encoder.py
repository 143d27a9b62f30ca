"""One layer of a view as it is encoded: its bitrate, its keyframes, and what becomes of an encoder that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from hime_core.video.picture import Picture
from server.media.send.bitrate import Bitrates, SharedTarget
from server.media.send.encoder import Codec, VideoEncoder
from server.media.send.packetize import packetizer
from server.media.send.tracks import EncodedFrame
from server.observability.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Shown:
    """A rendered frame. received: when its last packet came, clock seconds."""

    picture: Picture
    pts: int
    time_base: Fraction
    received: float


class LayerEncoder:
    """encode() and stop() are for the encoder's thread, the rest for any."""

    def __init__(
        self,
        codec: Codec,
        names: Sequence[str],
        bitrates: Bitrates,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        make: Callable[..., VideoEncoder] = VideoEncoder,
    ) -> None:
        """names: of libavcodec's encoders; when one fails, the last of them takes its place."""
        self.target = SharedTarget(bitrates, clock)
        self._names = list(names)
        self._bitrates = bitrates
        self._metrics = metrics
        self._clock = clock
        self._make = make
        self._pack = packetizer(codec)
        self._encoder: VideoEncoder | None = None
        self._reason = "start"
        self._due = float("-inf")  # when the next keyframe is wanted at the earliest
        self._last_keyframe = float("-inf")
        self._logged = False

    def request_keyframe(self, interval: float, reason: str) -> None:
        """interval: seconds after the last one, at the earliest."""
        due = self._last_keyframe + interval
        if due < self._due:
            self._due, self._reason = due, reason

    def encode(self, shown: Shown, picture: Picture) -> EncodedFrame | None:
        """picture: of this layer. None where the encoder left it out, or failed."""
        try:
            return self._encode(shown, picture)
        except Exception:
            self._failed()
            return None

    def stop(self) -> None:
        """Gives up the encoder, which holds frames. It may go on with a new one."""
        if self._encoder is not None:
            self._encoder = None
            self._due, self._reason = float("-inf"), "start"

    def _encode(self, shown: Shown, picture: Picture) -> EncodedFrame | None:
        started = self._clock()
        reason = self._reason if started >= self._due else None
        if self._encoder is None or self._encoder.size != (picture.width, picture.height):
            if self._encoder is not None:
                reason = "resize"
            self._encoder = self._make(self._names[0], picture.width, picture.height, self._bitrates)
        frame = picture.to_frame()
        frame.pts, frame.time_base = shown.pts, shown.time_base
        packet = self._encoder.encode(frame, self.target.value, keyframe=reason is not None)
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
