"""Decoding, in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, cast

import av

from hime_core.video.coding import Coding, CodingDecoder
from server.media.receive.jitter import VIDEO_CLOCK, ReceivedData

BACKLOG = 64  # encoded frames; more than two seconds behind, only a new keyframe helps

log = logging.getLogger(__name__)


class DecoderSink(Protocol):
    """Where decoded video goes: receive() and stage() are called from the decoder's thread, lost() from the loop."""

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None) -> None:
        """received: when the frame's last packet was taken from the network, in clock seconds."""

    def lost(self, frames: int) -> None: ...
    def stage(self, name: str, seconds: float) -> None: ...


class Decoder:
    """Decodes one stream's frames in the order in which they are put in. Bounded."""

    def __init__(
        self,
        sink: DecoderSink,
        fell_behind: Callable[[], None],
        failed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """fell_behind: called by put(); failed: in the decoder's thread, with each frame that cannot be decoded."""
        self._sink = sink
        self._fell_behind = fell_behind
        self._failed = failed
        self._clock = clock
        self._queue: queue.Queue[tuple[str, ReceivedData] | None] = queue.Queue()
        self._thread = threading.Thread(target=self.run, name="video-decode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, codec: str, frame: ReceivedData) -> bool:
        """codec: VP8 or H264. False where the decoder has fallen behind, and all that waited for it is thrown away."""
        self._queue.put((codec, frame))
        if self._queue.qsize() <= BACKLOG:
            return True
        self._sink.lost(self._empty())
        self._fell_behind()
        return False

    def close(self) -> None:
        """Ends the thread and waits for it. Blocks: not for the event loop's thread."""
        self._empty()
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def run(self) -> None:
        """Decodes until the decoder is closed."""
        codec, decoder = "", None
        while (item := self._queue.get()) is not None:
            name, frame = item
            if decoder is None or name != codec:
                codec, decoder = name, make_decoder(name)
            self._decode(decoder, frame)

    def _decode(self, decoder: CodingDecoder, data: ReceivedData) -> None:
        started = self._clock()
        # From the last packet's arrival to the decoder: packets missing before it, and the decoder's backlog.
        # The kernel's and the event loop's queues lie before the arrival and are not seen.
        self._sink.stage("receive", started - data.arrived)
        packet = cast("av.Packet[av.VideoStream]", av.Packet(data.data))  # annotated as of no kind of stream
        packet.pts, packet.time_base = data.timestamp, Fraction(1, VIDEO_CLOCK)
        try:
            frames = decoder.decode(packet)
        except Exception as error:  # not FFmpeg's only: whatever a publisher sends, its stream has one thread
            log.debug("a frame could not be decoded: %s", error)
            self._failed()  # the decoder's state is kept: without it, every frame would fail
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


def make_decoder(codec: str) -> CodingDecoder:
    """libavcodec's; its own for VP8 takes four fifths of libvpx's time and copies nothing."""
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec.lower(), "r"))
    if context.name == "vp8":
        context.thread_count = 1  # more would hold frames back
    return CodingDecoder(context)
