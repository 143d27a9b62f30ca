"""What watchers get: encoded frames as they come, and Opus packets in step with them. For the event loop's thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.media.rates import Smoothed
from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import ReceivedData
from server.media.send.bitrate import Bitrates, PathEstimate
from server.media.send.encoder import Codec

AUDIO_CLOCK, VIDEO_CLOCK = 48000, 90000  # timestamps per second
MAX_AUDIO_PACKETS = 50  # one second
MAX_AUDIO_DELAY = 0.25  # seconds
MAX_AUDIO_LATE = 0.1  # seconds past its time at which a packet is left out


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """One frame as RTP payloads, the same for all watchers of an encoding.

    timestamp: RTP's, 90 kHz, without an offset; received: when its last packet came in, clock seconds.
    """

    payloads: list[bytes]
    timestamp: int
    keyframe: bool
    received: float

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.payloads))


class Track:
    """It ends once, and tells of it."""

    def __init__(self) -> None:
        self.ended = False
        self._on_ended: list[Callable[[], None]] = []

    def on_ended(self, call: Callable[[], None]) -> None:
        self._on_ended.append(call)

    def stop(self) -> None:
        if not self.ended:
            self.ended = True
            for call in self._on_ended:
                call()


class VideoSource(Protocol):
    """What encodes for a track."""

    def request_keyframe(self, track: VideoTrack, reason: str) -> None: ...
    def path_changed(self, track: VideoTrack) -> None: ...


class FrameSender(Protocol):
    """The way to one watcher. It ends the track when it is lost, and raises nothing."""

    @property
    def congested(self) -> bool:
        """Whether frames sent before have not left yet."""

    def send(self, frame: EncodedFrame) -> None: ...


class VideoTrack(Track):
    """One watcher's video. From start() on, the source puts encoded frames in; each is sent at once, the first being a
    keyframe.

    A watcher whose way is congested loses the frames that come meanwhile, and goes on with a keyframe. That is asked
    for only once the way is free: whoever has stalled for good costs the others nothing.
    """

    def __init__(
        self,
        bitrates: Bitrates,
        capture: CaptureClock,
        on_start: Callable[[VideoTrack], None] = lambda track: None,
        on_sent: Callable[[float], None] = lambda latency: None,
        on_skipped: Callable[[int], None] = lambda frames: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """capture: the stream's; on_start: is to set `source`; on_sent: called with a frame's latency as it leaves for
        the network; on_skipped: with the number of frames that a congested watcher loses."""
        super().__init__()
        self.codec: Codec = "VP8"  # the watcher's; set before start()
        self.source: VideoSource | None = None
        self.path = PathEstimate(bitrates, clock)
        self.capture = capture
        self._clock = clock
        self._latency = Smoothed()
        self._on_start = on_start
        self._on_sent = on_sent
        self._on_skipped = on_skipped
        self._sender: FrameSender | None = None
        self._decodable = False  # whether the next frame can be decoded by whoever got all before it
        self._lost_some = False

    def start(self, sender: FrameSender) -> None:
        """Once the watcher is connected."""
        if self._sender is None and not self.ended:
            self._sender = sender
            self._on_start(self)

    def put(self, frame: EncodedFrame) -> None:
        if self._sender is None or self.ended:
            return
        if self._sender.congested:
            self._on_skipped(1)
            self._decodable, self._lost_some = False, True
            return
        if not (self._decodable or frame.keyframe):
            if self._lost_some:
                self._on_skipped(1)
                self.request_keyframe("overflow")
            return
        self._decodable, self._lost_some = True, False
        self.path.sent(frame.size)
        latency = self._clock() - frame.received
        self._latency.add(latency)
        self._on_sent(latency)
        self._sender.send(frame)

    def audio_delay(self) -> float:
        """How long the audio received with a frame is to wait for it, seconds."""
        return min(self._latency.value or 0.0, MAX_AUDIO_DELAY)

    def request_keyframe(self, reason: str) -> None:
        if self.source is not None:
            self.source.request_keyframe(self, reason)

    def estimated(self, bitrate: int) -> None:
        """bitrate: what the watcher's receiver says that its path carries, bit/s."""
        self.path.estimated(bitrate)
        self._path_changed()

    def measured(self) -> None:
        """The path's estimate has changed, as its watcher reports when packets arrive."""
        self._path_changed()

    def lost(self, fraction: float) -> None:
        """fraction: of the packets sent since the last report, 0..1."""
        self.path.lost(fraction)
        self._path_changed()

    def _path_changed(self) -> None:
        if self.source is not None:
            self.source.path_changed(self)


class AudioTrack(Track):
    """One watcher's audio: Opus packets, each held back until the picture received with it has gone out."""

    def __init__(
        self, capture: CaptureClock, delay: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.capture = capture
        self._delay = delay
        self._clock = clock
        self._packets: deque[ReceivedData] = deque(maxlen=MAX_AUDIO_PACKETS)
        self._ready = asyncio.Event()

    def put(self, packet: ReceivedData) -> None:
        """The oldest packet is left out when a second of audio waits."""
        self._packets.append(packet)
        self._ready.set()

    async def next(self) -> ReceivedData | None:
        """Waits for a packet, and until it is to be played out; None once the track has ended."""
        while not self.ended:
            while self._packets:
                packet = self._packets.popleft()
                wait = packet.arrived + self._delay() - self._clock()
                if wait < -MAX_AUDIO_LATE:
                    continue
                if wait > 0:
                    await asyncio.sleep(wait)
                return packet
            self._ready.clear()
            await self._ready.wait()
        return None

    def stop(self) -> None:
        super().stop()
        self._ready.set()


class AudioRelay:
    """Hands a publisher's Opus packets to its watchers."""

    def __init__(
        self, on_first_packet: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capture = CaptureClock(AUDIO_CLOCK)
        self._on_first_packet: Callable[[], None] | None = on_first_packet
        self._clock = clock
        self._tracks: set[AudioTrack] = set()

    def receive(self, packet: ReceivedData) -> None:
        for track in self._tracks:
            track.put(packet)
        if self._on_first_packet is not None:
            on_first_packet, self._on_first_packet = self._on_first_packet, None
            on_first_packet()

    def watch(self, delay: Callable[[], float] = lambda: 0.0) -> AudioTrack:
        """delay: how long the watcher's audio is to be held back, seconds: as long as what that watcher sees."""
        track = AudioTrack(self.capture, delay, self._clock)
        self._tracks.add(track)
        track.on_ended(lambda: self._tracks.discard(track))
        return track

    def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
