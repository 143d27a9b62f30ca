"""The tracks that watchers' senders read: recv() only waits for what is ready."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from server.media.slot import AsyncSlot

MAX_AUDIO_PACKETS = 50  # one second
MAX_AUDIO_LATE = 0.1  # seconds past its time at which a packet is left out


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A frame for one watcher, and when it was received (clock seconds)."""

    frame: av.VideoFrame
    received: float


class VideoTrack(MediaStreamTrack):
    """One watcher's video: the newest frame of one view."""

    kind = "video"

    def __init__(
        self,
        on_encoded: Callable[[float, float], None] = lambda received, seconds: None,
        on_keyframe: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """on_encoded: called with a frame's reception and the encoder's seconds, from encoder threads."""
        super().__init__()
        self.slot: AsyncSlot[Outgoing] = AsyncSlot(asyncio.get_running_loop())
        self.keyframe = on_keyframe
        self._on_encoded = on_encoded
        self._received = 0.0

    async def recv(self) -> av.VideoFrame:
        outgoing = await self.slot.get() if self.readyState == "live" else None
        if outgoing is None:
            self.stop()
            raise MediaStreamError
        self._received = outgoing.received
        return outgoing.frame

    def encoded(self, seconds: float) -> None:
        """The frame that recv() gave last has been encoded. aiortc asks for the next one only after that."""
        self._on_encoded(self._received, seconds)

    def stop(self) -> None:
        super().stop()
        self.slot.close()


class AudioTrack(MediaStreamTrack):
    """One watcher's audio: Opus packets, each held back until the picture received with it has gone out."""

    kind = "audio"

    def __init__(self, delay: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
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
        self,
        delay: Callable[[], float],
        on_first_packet: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """delay: how long audio is to be held back, seconds."""
        self._delay = delay
        self._on_first_packet: Callable[[], None] | None = on_first_packet
        self._clock = clock
        self._tracks: set[AudioTrack] = set()

    def receive(self, packet: av.Packet, received: float) -> None:
        for track in self._tracks:
            track.put(packet, received)
        if self._on_first_packet is not None:
            on_first_packet, self._on_first_packet = self._on_first_packet, None
            on_first_packet()

    def watch(self) -> AudioTrack:
        track = AudioTrack(self._delay, self._clock)
        self._tracks.add(track)
        track.on("ended", lambda: self._tracks.discard(track))
        return track

    def close(self) -> None:
        for track in list(self._tracks):
            track.stop()
