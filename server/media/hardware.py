"""Decoding on a graphics card, where one is asked for and works."""

from __future__ import annotations

import logging

import av
from av.codec.hwaccel import HWAccel

from server.media.send.bitrate import Bitrates
from server.media.send.encoder import TIME_BASE, VideoEncoder

DEVICE = "cuda"  # libavcodec's name
SIZE = 320, 192  # pixels of the picture that is tried: NVDEC takes none below 48x48

log = logging.getLogger(__name__)


def find_hardware() -> str | None:
    """libavcodec's name of the device that decodes H264 here, None where there is none. Decodes a frame to see; logs
    what was found."""
    try:
        frame = av.VideoFrame(*SIZE, "yuv420p")
        frame.pts, frame.time_base = 0, TIME_BASE
        packet = VideoEncoder("libx264", *SIZE, Bitrates()).encode(frame, Bitrates.start, keyframe=True)
        decoder = av.CodecContext.create("h264", "r", hwaccel=HWAccel(DEVICE, allow_software_fallback=False))
        if packet is not None and [*decoder.decode(av.Packet(bytes(packet))), *decoder.decode(None)]:
            log.info("video is decoded by %s", DEVICE)
            return DEVICE
        reason = "it gives no frame"
    except (ValueError, RuntimeError, NotImplementedError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    log.warning("video is decoded by the processor: no %s (%s)", DEVICE, reason)
    return None
