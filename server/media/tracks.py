"""The tracks that watchers' senders read: recv() only waits for what is ready."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from server.media.bitrate import Bitrates, PathEstimate
from server.media.capture import CaptureClock
from server.media.encoder import Codec
from server.media.rates import Smoothed

AUDIO_CLOCK, VIDEO_CLOCK = 48000, 90000  # timestamps per second
MAX_VIDEO_FRAMES = 15  # half a second
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


class VideoSource(Protocol):
    """What encodes for a track; called in the event loop."""

    def request_keyframe(self, track: VideoTrack, reason: str) -> None: ...
    def path_changed(self, track: VideoTrack) -> None: ...


class VideoTrack(MediaStreamTrack):
    """One watcher's video: encoded frames in order, from a keyframe on. All of it runs in the event loop.

    A watcher that does not take its frames in time loses those that wait and goes on with a keyframe, which is asked
    for only once it reads again: whoever has stalled for good costs the others nothing.
    """

    kind = "video"

    def __init__(
        self,
        bitrates: Bitrates,
        capture: CaptureClock,
        on_first_read: Callable[[VideoTrack], None] = lambda track: None,
        on_sent: Callable[[float], None] = lambda latency: None,
        on_skipped: Callable[[int], None] = lambda frames: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """capture: the stream's; on_first_read: is to set `source`; on_sent: called with a frame's latency as it leaves
        for the network; on_skipped: with the number of frames that a slow reader loses."""
        super().__init__()
        self.codec: Codec = "VP8"
        self.source: VideoSource | None = None
        self.path = PathEstimate(bitrates, clock)
        self.capture = capture
        self._clock = clock
        self._latency = Smoothed()
        self._on_first_read: Callable[[VideoTrack], None] | None = on_first_read
        self._on_sent = on_sent
        self._on_skipped = on_skipped
        self._frames: deque[EncodedFrame] = deque()
        self._ready = asyncio.Event()
        self._send: Callable[[EncodedFrame], None] | None = None
        self._decodable = False  # whether the next frame can be decoded by whoever got all before it
        self._lost_some = False

    def put(self, frame: EncodedFrame) -> None:
        if len(self._frames) >= MAX_VIDEO_FRAMES:
            self._on_skipped(len(self._frames))
            self._frames.clear()
            self._decodable, self._lost_some = False, True
        if frame.keyframe:
            self._decodable = True
        elif not self._decodable:
            if self._lost_some:
                self._on_skipped(1)
            return
        if self._send is not None and not self._frames:
            self._send(self._leaving(frame))
            return
        self._frames.append(frame)
        self._ready.set()

    def send_with(self, send: Callable[[EncodedFrame], None] | None) -> None:
        """send: called from here on with each frame as it is put, instead of recv(); None: no more."""
        self._send = send

    async def recv(self) -> EncodedFrame:  # type: ignore[override]  # aiortc packs whatever is not a raw frame
        if self._on_first_read is not None:
            on_first_read, self._on_first_read = self._on_first_read, None
            on_first_read(self)
        if self._lost_some and not self._decodable:
            self.request_keyframe("overflow")
        while self.readyState == "live":
            if self._frames:
                return self._leaving(self._frames.popleft())
            self._ready.clear()
            await self._ready.wait()
        raise MediaStreamError

    def _leaving(self, frame: EncodedFrame) -> EncodedFrame:
        self._lost_some = False
        self.path.sent(frame.size)
        latency = self._clock() - frame.received
        self._latency.add(latency)
        self._on_sent(latency)
        return frame

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

    def lost(self, fraction: float) -> None:
        """fraction: of the packets sent since the last report, 0..1."""
        self.path.lost(fraction)
        self._path_changed()

    def _path_changed(self) -> None:
        if self.source is not None:
            self.source.path_changed(self)

    def stop(self) -> None:
        super().stop()
        self._ready.set()


class AudioTrack(MediaStreamTrack):
    """One watcher's audio: Opus packets, each held back until the picture received with it has gone out."""

    kind = "audio"

    def __init__(
        self, capture: CaptureClock, delay: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.capture = capture
        self._delay = delay
        self._clock = clock
        self._packets: deque[tuple[av.Packet, float]] = deque(maxlen=MAX_AUDIO_PACKETS)
        self._ready = asyncio.Event()

    def put(self, packet: av.Packet, received: float) -> None:
        """In the event loop. The oldest packet is left out when a second of audio waits."""
        self._packets.append((packet, received))
        self._ready.set()

    async def recv(self) -> av.Packet:
        while self.readyState == "live":
            while self._packets:
                packet, received = self._packets.popleft()
                wait = received + self._delay() - self._clock()
                if wait < -MAX_AUDIO_LATE:
                    continue
                if wait > 0:
                    await asyncio.sleep(wait)
                return packet
            self._ready.clear()
            await self._ready.wait()
        raise MediaStreamError

    def stop(self) -> None:
        super().stop()
        self._ready.set()


class AudioRelay:
    """Hands a publisher's Opus packets to its watchers. All of it runs in the event loop."""

    def __init__(
        self, on_first_packet: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capture = CaptureClock(AUDIO_CLOCK)
        self._on_first_packet: Callable[[], None] | None = on_first_packet
        self._clock = clock
        self._tracks: set[AudioTrack] = set()

    def receive(self, packet: av.Packet, received: float) -> None:
        for track in self._tracks:
            track.put(packet, received)
        if self._on_first_packet is not None:
            on_first_packet, self._on_first_packet = self._on_first_packet, None
            on_first_packet()

    def watch(self, delay: Callable[[], float] = lambda: 0.0) -> AudioTrack:
        """delay: how long the watcher's audio is to be held back, seconds: as long as what that watcher sees."""
        track = AudioTrack(self.capture, delay, self._clock)
        self._tracks.add(track)
        track.on("ended", lambda: self._tracks.discard(track))
        return track

    def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
