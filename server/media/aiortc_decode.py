"""Decoding, in the thread that aiortc starts for it. `tests/media/test_receive.py` fails when aiortc changes."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import av

from hime_core.coding import Coding, CodingDecoder
from server.media.jitter import VIDEO_CLOCK, ReceivedData

DECODER_BACKLOG = 64  # encoded frames; more than two seconds behind, only a new keyframe helps

log = logging.getLogger(__name__)


class DecoderSink(Protocol):
    """Where decoded video goes: receive() and stage() are called from the decoder's thread, lost() from the loop."""

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None) -> None:
        """received: when the frame's last packet was taken from the network, in clock seconds."""

    def lost(self, frames: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...


class DecoderQueue:
    """Encoded frames for aiortc's decoder thread, bounded.

    That thread decodes in here: by itself, aiortc's would hand a coroutine with each frame to the event loop, and ask
    for a keyframe with every frame that fails.
    """

    def __init__(
        self,
        sink: DecoderSink,
        fell_behind: Callable[[], None],
        failed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """fell_behind: called in the event loop; failed: in the decoder's thread."""
        self._sink = sink
        self._fell_behind = fell_behind
        self._failed = failed
        self._clock = clock
        self._queue: queue.Queue[tuple[Any, ReceivedData] | None] = queue.Queue()

    def put(self, task: tuple[Any, ReceivedData] | None) -> bool:
        """False where the decoder has fallen behind, and everything that waited for it is thrown away."""
        self._queue.put(task)
        if task is None or self._queue.qsize() <= DECODER_BACKLOG:
            return True
        self._sink.lost(self._empty())
        self._fell_behind()
        return False

    def get(self) -> None:
        """Called once by aiortc's decoder thread: decodes all that comes. The None then ends the thread."""
        codec_name, decoder = "", None
        while (task := self._queue.get()) is not None:
            codec, data = task
            if decoder is None or codec.name != codec_name:
                codec_name, decoder = codec.name, _decoder(codec)
            self._decode(decoder, data)

    def _decode(self, decoder: CodingDecoder, data: ReceivedData) -> None:
        started = self._clock()
        # From the last packet's arrival to the decoder: packets missing before it, and the decoder's backlog.
        # The kernel's and the event loop's queues lie before the arrival and are not seen.
        self._sink.stage("receive", started - data.arrived)
        packet = av.Packet(data.data)
        packet.pts, packet.time_base = data.timestamp, Fraction(1, VIDEO_CLOCK)
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError as error:  # the decoder's state is kept: without it, every frame would fail
            log.debug("a frame could not be decoded: %s", error)
            self._failed()
            return
        for frame, coding in frames:
            self._sink.stage("decode", self._clock() - started)
            self._sink.receive(frame, data.arrived, coding)

    def _empty(self) -> int:
        frames = 0
        while True:
            try:
                frames += self._queue.get_nowait() is not None
            except queue.Empty:
                return frames


def _decoder(codec: Any) -> CodingDecoder:
    """libavcodec's; its own for VP8 takes four fifths of libvpx's time, which aiortc takes, and copies nothing."""
    context = av.CodecContext.create(codec.name.lower(), "r")
    if context.name == "vp8":
        context.thread_count = 1  # more would hold frames back
    return CodingDecoder(context)
