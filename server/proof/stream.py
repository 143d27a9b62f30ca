"""A scene encoded as a sender does: at a good rate, then, from one frame to the next, at a low one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from server.media.send.bitrate import Bitrates
from server.media.send.encoder import FRAME_RATE, Codec, VideoEncoder
from server.proof.plan import Timing
from server.proof.scene import Scene

CLOCK_RATE = 90000


@dataclass(frozen=True, eq=False)
class Stream:
    """packets: each frame's encoded picture by its number, None where the encoder left it out.

    fps: at which they are sent. kbps: what the low rate came to at the pace of the clip itself,
    from the first frame sent at it to the last, without what RTP, UDP and IP add;
    measured_kbps: over the frames that are measured alone.
    """

    packets: tuple[bytes | None, ...]
    fps: float
    kbps: float
    measured_kbps: float

    def pts(self, number: int) -> int:
        """90 kHz."""
        return round(number * CLOCK_RATE / self.fps)

    def number(self, pts: int) -> int:
        return round(pts * self.fps / CLOCK_RATE)


def encode(scene: Scene, codec: Codec, kbps: int, timing: Timing) -> Stream:
    """The encoder is told of the clip's own pace, whatever the speed of sending."""
    fps = scene.clip.fps
    name, highest = ("libvpx", 1.0) if codec == "VP8" else ("libx264", max(1.0, FRAME_RATE / fps))
    # x264 counts bits per frame of its nominal rate: at fewer frames a second its limit must be higher to be out of it.
    highest *= max(kbps, timing.good_kbps) * 1000
    rates = Bitrates(min=kbps * 1000, start=timing.good_kbps * 1000, max=round(highest))
    encoder = VideoEncoder(name, scene.geometry.width, scene.geometry.height, rates)
    keyframes = (0, scene.lead, scene.low) if timing.keyframe else (0, scene.lead)

    def packets() -> Iterator[bytes | None]:
        for number in range(scene.end):
            frame = scene.picture(number).to_frame()
            frame.pts, frame.time_base = round(number * CLOCK_RATE / fps), Fraction(1, CLOCK_RATE)
            rate = (timing.good_kbps if number < scene.low else kbps) * 1000
            packet = encoder.encode(frame, rate, keyframe=number in keyframes)
            yield bytes(packet) if packet is not None else None

    made = tuple(packets())

    def rate(first: int) -> float:
        sent = made[first:]
        return 8 * sum(len(packet) for packet in sent if packet) / 1000 * fps / len(sent)

    return Stream(made, fps * timing.speed, rate(scene.low), rate(scene.first))
