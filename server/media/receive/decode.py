"""Decoding, in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, cast

import av
from av.codec.hwaccel import HWAccel

from hime_core.video.coding import Coding, CodingDecoder
from server.media.receive.gate import FRAME_RATE, PIXELS, FrameGate, FrameRules
from server.media.receive.jitter import VIDEO_CLOCK, ReceivedData

JOIN_SECONDS = 5.0  # that a thread is waited for
BACKLOG = 64  # encoded frames; more than two seconds behind, only a new keyframe helps

log = logging.getLogger(__name__)


class DecoderSink(Protocol):
    """Where decoded video goes: lost() is called from the loop, the rest from the decoder's thread."""

    def receive(self, frame: av.VideoFrame, received: float, coding: Coding | None) -> None:
        """received: when the frame's last packet was taken from the network, in clock seconds."""

    def lost(self, frames: int) -> None: ...
    def refused(self, reason: str) -> None:
        """A frame is left out. reason: as of `FrameGate`."""

    def stage(self, name: str, seconds: float) -> None: ...
    def failed(self, part: str) -> None:
        """A part failed, and was started again. part: a short fixed word. Called from any thread."""


class Decoder:
    """Decodes one stream's frames in the order in which they are put in. Bounded."""

    def __init__(
        self,
        sink: DecoderSink,
        fell_behind: Callable[[], None],
        failed: Callable[[], None],
        clock: Callable[[], float],
        rules: FrameRules = FrameRules(),  # noqa: B008  # frozen
    ) -> None:
        """fell_behind: called by put(); failed: in the decoder's thread, with each frame that cannot be decoded."""
        self._rules = rules
        self._hardware = rules.hardware
        self._gate = FrameGate(rules, clock)
        self._sink = sink
        self._fell_behind = fell_behind
        self._failed = failed
        self._clock = clock
        self._logged = False
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

    def stop(self) -> None:
        """Throws away what waits; the thread ends when it has done with its frame."""
        self._empty()
        self._queue.put(None)

    def close(self) -> None:
        """The same, and waits for the thread, up to JOIN_SECONDS. Blocks: not for the event loop's thread."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)
            if self._thread.is_alive():
                log.error("a stream's decoder hangs; its thread is left behind")
                self._sink.failed("decoder")

    def run(self) -> None:
        """Decodes until the decoder is closed. An error beyond the frame's own gives the next frame a new decoder;
        after any error of a graphics card's it is the processor's."""
        codec, decoder = "", None
        while (item := self._queue.get()) is not None:
            name, frame = item
            try:
                if reason := self._gate.refuses(name, frame.data):
                    self._sink.refused(reason)
                    if reason != PIXELS:  # else the next keyframe would be as large
                        self._failed()
                    continue
                if decoder is None or name != codec:
                    codec, decoder = name, make_decoder(name, self._rules.pixels, self._hardware)
                if not self._decode(decoder, frame) and self._hardware:
                    decoder, self._hardware = None, None  # be it the card's fault or the frame's
            except Exception:
                decoder, self._hardware = None, None
                self._broke()

    def _broke(self) -> None:
        if not self._logged:  # the next ones will mostly be the same
            self._logged = True
            log.exception("a decoder failed, the next frame gets a new one")
        self._sink.failed("decoder")
        self._failed()

    def _decode(self, decoder: CodingDecoder, data: ReceivedData) -> bool:
        """Whether it could be decoded."""
        started = self._clock()
        # From the last packet's arrival to the decoder: packets missing before it, and the decoder's backlog.
        # The kernel's and the event loop's queues lie before the arrival and are not seen.
        self._sink.stage("receive", started - data.arrived)
        packet = cast("av.Packet[av.VideoStream]", av.Packet(data.data))  # annotated as of no kind of stream
        packet.pts, packet.time_base = data.timestamp, Fraction(1, VIDEO_CLOCK)
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError as error:  # the decoder's state is kept: without it, every frame would fail
            log.debug("a frame could not be decoded: %s", error)
            self._failed()
            return False
        for frame, coding in frames:
            self._sink.stage("decode", self._clock() - started)
            if self._gate.shows():
                self._sink.receive(frame, data.arrived, coding)
            else:
                self._sink.refused(FRAME_RATE)
        return True

    def _empty(self) -> int:
        frames = 0
        while True:
            try:
                frames += self._queue.get_nowait() is not None
            except queue.Empty:
                return frames


def make_decoder(codec: str, max_pixels: int = FrameRules.pixels, device: str | None = None) -> CodingDecoder:
    """libavcodec's; its own for VP8 takes four fifths of libvpx's time and copies nothing. device: as FrameRules has
    it."""
    # What the device cannot decode, libavcodec decodes all the same.
    accelerated = HWAccel(device, allow_software_fallback=True) if device else None
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec.lower(), "r", hwaccel=accelerated))
    # Should a size get past the gate unread, libavcodec refuses it before it takes memory. It counts its own margins.
    context.options = context.options | {"max_pixels": str(2 * max_pixels)}
    if context.name == "vp8":
        context.thread_count = 1  # more would hold frames back
    return CodingDecoder(context)
