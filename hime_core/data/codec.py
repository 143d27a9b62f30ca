"""Frames through the encoder and decoder of a call: VP8 or H264 as WebRTC senders set them, yuv420p, BT.601."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import av

from hime_core.arrays import Array
from hime_core.video.picture import Picture

Codec = Literal["vp8", "h264"]
CODECS: tuple[Codec, ...] = ("vp8", "h264")
ENCODERS: dict[Codec, Literal["libvpx", "libx264"]] = {"vp8": "libvpx", "h264": "libx264"}
_RATE = 25  # frames per second that bit rates refer to
_VP8 = {
    "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "partitions": "0", "static-thresh": "1",
    "auto-alt-ref": "0",
}  # fmt: skip
# As OpenH264 codes calls: constrained baseline with the deblocking filter, which x264's ultrafast leaves out.
_H264 = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "x264-params": "no-deblock=0"}


def transmit(frames: Sequence[Array], codec: Codec, quantizer: int) -> list[Array]:
    """The frames, RGB uint8 (H, W, 3) of one even size, as their receiver sees them.

    The first is a keyframe, the others are predicted from those before.
    quantizer: constant; 0..63 for vp8, 0..51 for h264, finest first.
    """
    encoder, decoder = _encoder(frames[0].shape[1], frames[0].shape[0], codec, quantizer), _decoder(codec)
    received = []
    for number, rgb in enumerate(frames):
        frame = Picture.from_rgb(rgb).to_frame()
        frame.pts, frame.time_base = number, Fraction(1, _RATE)
        for packet in encoder.encode(frame):
            received += decoder.decode(packet)
    for packet in encoder.encode(None):
        received += decoder.decode(packet)
    received += decoder.decode(None)
    if len(received) != len(frames):
        raise RuntimeError(f"{codec}: {len(frames)} frames went in, {len(received)} came out")
    return [Picture.from_frame(frame).rgb() for frame in received]


def _encoder(width: int, height: int, codec: Codec, quantizer: int) -> av.VideoCodecContext:
    context = av.CodecContext.create(ENCODERS[codec], "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate, context.thread_count = Fraction(1, _RATE), Fraction(_RATE), 1
    context.gop_size = 3000
    if codec == "vp8":
        context.bit_rate, context.qmin, context.qmax = 10_000_000, quantizer, quantizer
        context.options = _VP8
    else:
        context.options = _H264 | {"qp": str(quantizer)}
    return context


def _decoder(codec: Codec) -> av.VideoCodecContext:
    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    return context
