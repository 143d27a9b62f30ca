"""A watcher that costs little: packets are put together to frames and counted, and hardly any is decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import av
from aiortc.rtcrtpreceiver import StreamStatistics

from hime_core.video.picture import Picture
from server.client.load.encoded import CLOCK_RATE
from server.client.load.marker import number_of
from server.client.load.replay import SentLog
from server.client.load.tally import Tally, count
from server.media.receive.freezes import Freezes
from server.media.receive.jitter import ReceivedData, VideoJitterBuffer
from server.media.receive.repair import KeyframeRequests, RoundTrip
from server.media.send.encoder import Codec

READ_EVERY = 10.0  # seconds between keyframes whose number is read, once it is known how timestamps lie
READINGS = 3  # times that a keyframe is asked for to read it
READING = 2.0  # seconds without one, after which it is
KEPT_WINDOWS = 4
_WRAP = 1 << 32

Reader = Callable[[Codec, bytes, Callable[[int | None], None]], None]


class Sink:
    """In the place of an aiortc receiver's jitter buffer. For the event loop's thread.

    A relay keeps RTP timestamps a constant apart from the publisher's, which a keyframe's number tells; it is read
    again and again, as another stream may have come in between. first_frame: when the first was whole, clock seconds.
    """

    def __init__(self, codec: Codec, log: SentLog, read: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        """log: what the publisher sends; read: decodes a keyframe in a thread, and calls back in the loop with the
        number that it shows."""
        self.first_frame: float | None = None
        self._codec, self._log, self._read, self._clock = codec, log, read, clock
        round_trip = RoundTrip()
        self._buffer = VideoJitterBuffer(lambda payload_type: codec, self, round_trip, clock)
        self._requests = KeyframeRequests(round_trip, clock)
        self._statistics = StreamStatistics(CLOCK_RATE)
        self._counted: dict[int, tuple[int, int, int]] = {}  # as each window began
        self._recovered = 0
        self._freezes = Freezes()
        self._tallies: dict[int, Tally] = {}
        self._offset: int | None = None
        self._next_reading = float("-inf")
        self._readings = 0

    def add(self, packet: Any) -> tuple[bool, None]:
        """As aiortc's jitter buffer: whether to ask for a keyframe, and no frame to decode."""
        self._statistics.add(packet)
        tally = self._tally(self._log.window)
        tally.octets += len(packet.payload)
        packet.data = packet._data  # as the relay's own packets have it
        for frame in self._buffer.add(packet):
            self._released(frame, tally)
        wanted = bool(self._buffer.wants_keyframe) or self._wants_reading()
        return wanted and self._requests.ask(), None

    def begin(self) -> None:
        """A window begins."""
        self._counted[self._log.window] = self._packets_counted()
        _forget(self._counted)

    def tally(self, window: int) -> Tally:
        """Of the window that is over, of which nothing more comes. Packets are those since its begin, as what is lost
        at its end may still be repaired."""
        found = self._tally(window)
        found.watchers, found.timed = 1, int(self._offset is not None)
        counted, begun = self._packets_counted(), self._counted.get(window, (0, 0, 0))
        found.expected, received, found.recovered = (now - before for now, before in zip(counted, begun, strict=True))
        found.lost = max(0, found.expected - received)
        found.jitter = self._statistics.jitter / CLOCK_RATE
        return found

    # --- what the buffer tells (ReceiveEvents)

    def packets(self, outcome: str, count: int) -> None:
        if outcome == "recovered":
            self._recovered += count

    def skipped(self, frames: int) -> None:
        """They did not come, which is counted where they are missed."""

    # --- inside

    def _packets_counted(self) -> tuple[int, int, int]:
        """Expected, received and recovered so far."""
        counted = self._statistics
        if counted.max_seq is None:
            return 0, 0, 0
        return counted.packets_expected, counted.packets_received, self._recovered

    def _wants_reading(self) -> bool:
        """Whether a keyframe is needed to tell how timestamps lie: a relay may send none for as long as all is well."""
        if self._offset is not None or self.first_frame is None or self._readings >= READINGS:
            return False
        if self._clock() < self.first_frame + READING * (1 + self._readings):
            return False
        self._readings += 1
        return True

    def _tally(self, window: int) -> Tally:
        if window not in self._tallies:
            self._tallies[window] = Tally()
            _forget(self._tallies)
        return self._tallies[window]

    def _released(self, frame: ReceivedData, tally: Tally) -> None:
        now = self._clock()
        if self.first_frame is None:
            self.first_frame = now
        before = self._freezes.seconds
        if self._freezes.add(now):
            tally.freezes += 1
            tally.frozen_seconds += self._freezes.seconds - before
        if now >= self._next_reading and is_keyframe(self._codec, frame.data):
            self._next_reading = now + READ_EVERY
            self._read(self._codec, frame.data, lambda number: self._learn(frame.sent, now, number))
        if self._offset is None:
            tally.frames += 1
        elif sent := self._log.at((frame.sent - self._offset) % _WRAP):
            own = self._tally(sent.window)
            own.frames += 1
            count(own.latencies, now - sent.time)

    def _learn(self, timestamp: int, shown: float, index: int | None) -> None:
        sent = None if index is None else self._log.showing(index, shown)
        if sent is not None:
            self._offset = (timestamp - self._log.clip.pts(sent.number)) % _WRAP
        elif self._offset is None:
            self._next_reading = self._clock()  # the next keyframe may tell


def _forget(windows: dict[int, Any]) -> None:
    """All but the last ones."""
    for old in sorted(windows)[:-KEPT_WINDOWS]:
        del windows[old]


def is_keyframe(codec: Codec, data: bytes) -> bool:
    """Of a whole frame: VP8 (RFC 6386, section 9.1), or H264 as a byte stream, whose keyframes begin with an SPS or an
    IDR slice, after a delimiter maybe."""
    if codec == "VP8":
        return bool(data) and not data[0] & 1
    starts = (at + 3 for at in range(min(len(data) - 3, 64)) if data[at : at + 3] == b"\0\0\1")
    return any(data[start] & 0x1F in (5, 7) for start in starts)


def read_number(codec: Codec, keyframe: bytes) -> int | None:
    """The number that a keyframe shows; None where it cannot be decoded or told."""
    try:
        decoder = av.CodecContext.create("vp8" if codec == "VP8" else "h264", "r")
        for frame in [*decoder.decode(av.Packet(keyframe)), *decoder.decode(None)]:
            return number_of(Picture.from_frame(frame))
    except (av.FFmpegError, ValueError):
        pass
    return None
