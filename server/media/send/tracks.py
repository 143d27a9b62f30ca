"""What watchers get: encoded frames as they come, and Opus packets in step with them. For the event loop's thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from server.media.rates import Smoothed
from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import ReceivedData
from server.media.send.bitrate import Bitrates, PathEstimate
from server.media.send.encoder import Codec
from server.media.send.timeline import Timeline

AUDIO_CLOCK, VIDEO_CLOCK = 48000, 90000  # timestamps per second
MAX_AUDIO_PACKETS = 50  # one second
MAX_AUDIO_DELAY = 0.25  # seconds
SOUND_LEAD = (
    0.05  # seconds that the picture may leave after its sound: what Opus takes, and half of what lip sync bears
)
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
    """It ends once. Until then, it may be released from the stream that it is of, and be bound to another."""

    def __init__(self) -> None:
        self.ended = False
        self._on_released: list[Callable[[], None]] = []

    def on_released(self, call: Callable[[], None]) -> None:
        """call: once, when the track leaves its stream, be it at its end."""
        self._on_released.append(call)

    def release(self) -> None:
        """From the stream, which gives it nothing more; it waits for another. May be called several times."""
        calls, self._on_released = self._on_released, []
        for call in calls:
            call()

    def stop(self) -> None:
        if not self.ended:
            self.ended = True
            self.release()


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


@dataclass(frozen=True, eq=False)
class VideoFeed:
    """What a track is of: one view of a published stream.

    capture: the stream's; on_start: called once the watcher is connected, and is to set `source`; on_sent: with a
    frame's latency as it leaves for the network; on_skipped: with the number of frames that a congested watcher loses;
    on_unrepaired: with that of packets that a watcher asked for and does not get, as its path has no room for them.
    """

    capture: CaptureClock
    on_start: Callable[[VideoTrack], None] = lambda track: None
    on_sent: Callable[[float], None] = lambda latency: None
    on_skipped: Callable[[int], None] = lambda frames: None
    on_unrepaired: Callable[[int], None] = lambda packets: None


class VideoTrack(Track):
    """One watcher's video. From start() on, the source puts encoded frames in; each is sent at once, the first being a
    keyframe, as is the first of every stream that it is bound to afterwards.

    A watcher whose way is congested loses the frames that come meanwhile, and goes on with a keyframe. That is asked
    for only once the way is free: whoever has stalled for good costs the others nothing.
    """

    def __init__(
        self, bitrates: Bitrates, feed: VideoFeed, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        super().__init__()
        self.codec: Codec = "VP8"  # the watcher's; set before start()
        self.source: VideoSource | None = None
        self.loss = 0.0  # of packets, as the watcher reported last: 0..1
        self.padded = True  # whether padding can be sent to the watcher; set before start()
        self.reduced = False  # whether the source has chosen its reduced layer, set by it
        self.path = PathEstimate(bitrates, clock)
        self.timeline = Timeline(feed.capture, clock)
        self._clock = clock
        self._latency = Smoothed()
        self._feed: VideoFeed | None = feed
        self._sender: FrameSender | None = None
        self._decodable = False  # whether the next frame can be decoded by whoever got all before it
        self._lost_some = False

    def start(self, sender: FrameSender) -> None:
        """Once the watcher is connected."""
        if self._sender is None and not self.ended:
            self._sender = sender
            if self._feed is not None:
                self._feed.on_start(self)

    def release(self) -> None:
        super().release()
        self.source = self._feed = None
        self._decodable = self._lost_some = False
        self._latency = Smoothed()

    def bind(self, feed: VideoFeed) -> None:
        """To another stream. The track is to be released, and not to have ended."""
        self._feed = feed
        self.timeline.go_on_with(feed.capture)
        if self._sender is not None:
            feed.on_start(self)

    def put(self, frame: EncodedFrame) -> None:
        feed = self._feed
        if self._sender is None or feed is None:
            return
        if self._sender.congested:
            feed.on_skipped(1)
            self._decodable, self._lost_some = False, True
            return
        if not (self._decodable or frame.keyframe):
            if self._lost_some:
                feed.on_skipped(1)
                self.request_keyframe("overflow")
            return
        self._decodable, self._lost_some = True, False
        self.path.sent(frame.size)
        latency = self._clock() - frame.received
        self._latency.add(latency)
        feed.on_sent(latency)
        placed = self.timeline.place(frame.timestamp)
        self._sender.send(frame if placed == frame.timestamp else replace(frame, timestamp=placed))

    def unrepaired(self, packets: int) -> None:
        """packets: that the watcher asked for, and that are not sent again."""
        if self._feed is not None:
            self._feed.on_unrepaired(packets)

    def audio_delay(self) -> float:
        """How long the audio received with a frame is to wait for it, seconds.

        Sound is older when it comes: Opus has gathered 20 ms of it and looked 6.5 ms ahead. What is left of SOUND_LEAD
        is within the 45 ms by which it may lead (ITU-R BT.1359), and browsers hold it back for longer than pictures."""
        return min(max(0.0, (self._latency.value or 0.0) - SOUND_LEAD), MAX_AUDIO_DELAY)

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
        self.loss = fraction
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
        self.timeline = Timeline(capture, clock)
        self._delay = delay
        self._clock = clock
        self._packets: deque[ReceivedData] = deque(maxlen=MAX_AUDIO_PACKETS)
        self._ready = asyncio.Event()

    def put(self, packet: ReceivedData) -> None:
        """The oldest packet is left out when a second of audio waits."""
        self._packets.append(packet)
        self._ready.set()

    def bind(self, capture: CaptureClock) -> None:
        """To another stream. The track is to be released, and not to have ended."""
        self._packets.clear()
        self.timeline.go_on_with(capture)

    async def next(self) -> ReceivedData | None:
        """Waits for a packet, and until it is to be played out; None once the track has ended. Its timestamp is in the
        watcher's count."""
        while not self.ended:
            while self._packets:
                packet, capture = self._packets.popleft(), self.timeline.capture
                wait = packet.arrived + self._delay() - self._clock()
                if wait < -MAX_AUDIO_LATE:
                    continue
                if wait > 0:
                    await asyncio.sleep(wait)
                if capture is self.timeline.capture:  # or it is of the stream before
                    return replace(packet, timestamp=self.timeline.place(packet.timestamp))
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
        self.last_arrival: float | None = None  # of any packet, clock seconds
        self._on_first_packet: Callable[[], None] | None = on_first_packet
        self._clock = clock
        self._tracks: set[AudioTrack] = set()

    def receive(self, packet: ReceivedData) -> None:
        self.last_arrival = packet.arrived
        for track in self._tracks:
            track.put(packet)
        if self._on_first_packet is not None:
            on_first_packet, self._on_first_packet = self._on_first_packet, None
            on_first_packet()

    def watch(self, delay: Callable[[], float] = lambda: 0.0, track: AudioTrack | None = None) -> AudioTrack:
        """delay: how long the watcher's audio is to be held back, seconds: as long as what that watcher sees.

        track: a released one, which goes on with this stream; None for a new one.
        """
        if track is None:
            track = AudioTrack(self.capture, delay, self._clock)
        elif track.ended:
            return track
        else:
            track.bind(self.capture)
        self._tracks.add(track)
        track.on_released(lambda: self._tracks.discard(track))
        return track

    def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
