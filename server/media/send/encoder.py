"""Video encoders on PyAV, whose bitrate changes while they run: no rebuilding, no keyframe.

How, since PyAV has no call for it (all measured with `benchmarks/calls/encoders.py`):
- libvpx reads its bitrate when it is opened and never again. But its rate control spends bits per second of the
  frames' own timestamps: opened at the highest bitrate, and given timestamps that advance at target / highest of the
  real pace, it keeps to the target from the next frame on. Packets leave with the real timestamps.
- libx264 takes a new `bit_rate` between frames, if it was opened in CBR (maxrate = bit_rate): from an ABR start it
  ignores the change. It counts frames, not seconds, so the rate is given for its nominal frame rate.
- NVENC takes a new `bit_rate` as well.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, cast

import av
from av.video.frame import PictureType

from server.media.send.bitrate import Bitrates

Codec = Literal["VP8", "H264"]

TIME_BASE = Fraction(1, 1_000_000)
FRAME_RATE = 30  # nominal
SHORTEST, LONGEST = 1 / 120, 0.5  # seconds between frames that rate control is told of
NEVER = 1_000_000  # frames between keyframes; they come when a watcher needs one

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoding:
    """How streams are encoded. h264: libavcodec's name of the H264 encoder. preferred: where a watcher takes both."""

    bitrates: Bitrates = field(default_factory=Bitrates)
    h264: str = "libx264"
    preferred: Codec = "VP8"


class VideoEncoder:
    """Encodes frames of one size. Not thread-safe."""

    def __init__(self, name: str, width: int, height: int, bitrates: Bitrates) -> None:
        """name: libvpx, libx264 or h264_nvenc. Raises av.error.FFmpegError where it cannot be opened."""
        self.size = width, height
        self._highest = bitrates.max
        self._stretches = name == "libvpx"
        codec = cast(av.VideoCodecContext, av.CodecContext.create(name, "w"))
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = TIME_BASE, Fraction(FRAME_RATE, 1)
        codec.bit_rate, codec.gop_size, codec.max_b_frames = bitrates.max, NEVER, 0
        # libvpx's threads spin: on two busy cores a second one took 20 times the processor time, and longer besides.
        codec.thread_count = 1
        if name == "libvpx":
            codec.qmin, codec.qmax = 2, 56
        codec.options = _OPTIONS[name] | _rate_control(name, bitrates.max)
        codec.open()
        self._codec = codec
        self._last: float | None = None
        self._interval = 1 / FRAME_RATE
        self._time = 0.0

    def encode(self, frame: av.VideoFrame, bitrate: int, keyframe: bool = False) -> av.Packet[Any] | None:
        """frame: yuv420p of the encoder's size, with pts and time_base; its timestamps and picture type are changed.

        bitrate: bit/s from here on. None where the encoder left the frame out.
        """
        assert frame.pts is not None and frame.time_base is not None
        pts, time_base = frame.pts, frame.time_base
        interval = self._interval_to(float(pts * time_base))
        if self._stretches:
            self._time += interval * bitrate / self._highest
        else:
            self._interval += 0.1 * (interval - self._interval)
            self._time += interval
            self._codec.bit_rate = min(round(bitrate * self._interval * FRAME_RATE), self._highest)
        frame.pts, frame.time_base = round(self._time / TIME_BASE), TIME_BASE
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        packets = self._codec.encode(frame)
        if not packets:
            return None
        (packet,) = packets
        packet.pts = packet.dts = pts
        packet.time_base = time_base
        return packet

    def _interval_to(self, time: float) -> float:
        interval = 1 / FRAME_RATE if self._last is None or time <= self._last else time - self._last
        self._last = time
        return min(max(interval, SHORTEST), LONGEST)


# Without error resilience, as in libwebrtc for streams of one layer: after a loss, receivers wait for a keyframe.
_OPTIONS = {
    "libvpx": {
        "deadline": "realtime",
        "cpu-used": "-8",  # 0.05 dB below -6, and a third below -4's time at 720p
        "lag-in-frames": "0",
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "static-thresh": "1",
        # A keyframe's share of a frame's bits, in percent: stretched time looks like hundreds of frames a second to
        # libvpx, which would give it 40 times a frame's. libwebrtc's value.
        "max-intra-rate": "900",
    },
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1"},
    "h264_nvenc": {
        "preset": "p2",
        "profile": "baseline",
        "tune": "ull",
        "rc": "cbr",
        "zerolatency": "1",
        "delay": "0",
        "forced-idr": "1",
    },
}


def _rate_control(name: str, highest: int) -> dict[str, str]:
    """CBR at the highest bitrate. The buffer is the room for a keyframe, and so how long a path is busy with one."""
    if name != "libvpx":
        return {"maxrate": str(highest), "bufsize": str(highest // 16)}
    bits = highest // 8
    # Half full to begin with: libvpx's own four seconds would be spent later on, in a burst far above the target.
    half = str(bits // 2)
    return {"minrate": str(highest), "maxrate": str(highest), "bufsize": str(bits), "rc_init_occupancy": half}


def find_h264() -> str:
    """libavcodec's name of the quickest H264 encoder that works here. Encodes a frame to see; logs what was found."""
    frame = av.VideoFrame(640, 360, "yuv420p")
    frame.pts, frame.time_base = 0, TIME_BASE
    try:
        if VideoEncoder("h264_nvenc", frame.width, frame.height, Bitrates()).encode(frame, Bitrates.start):
            log.info("H264 is encoded by NVENC")
            return "h264_nvenc"
        reason = "it gives no packet"
    except (ValueError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    log.info("H264 is encoded by x264: no NVENC (%s)", reason)
    return "libx264"
