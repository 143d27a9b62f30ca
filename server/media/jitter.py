"""Jitter buffers in place of aiortc's: frames leave as soon as they are whole, and all that are whole at once."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket


class ReceivedData(JitterFrame):
    """An encoded frame, when its last packet arrived, and the frames that became whole together with it."""

    def __init__(self, data: bytes, timestamp: int, arrived: float) -> None:
        super().__init__(data, timestamp)
        self.arrived = arrived
        self.following: list[ReceivedData] = []

    def sequence(self) -> list[ReceivedData]:
        """This frame and the following, their timestamps counted on from this one's."""
        origin, frames = self.raw_timestamp, [self, *self.following]
        for frame in self.following:
            frame.timestamp = self.timestamp + ((frame.raw_timestamp - origin) & 0xFFFFFFFF)
        return frames

    raw_timestamp: int  # the RTP timestamp; `timestamp` is rewritten by aiortc


class VideoJitterBuffer(JitterBuffer):
    """Releases a frame on its RTP marker bit, or on the next frame's first packet where there is none.

    aiortc waits for the next frame's packet, and gives one frame per packet at most, so that one held packet
    delays everything after it for good.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(capacity=512, is_video=True)
        self._clock = clock
        self.last_arrival: float | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        self.last_arrival = packet.arrived = self._clock()
        wants_keyframe, first = super().add(packet)
        if first is not None:
            while (frame := self._remove_frame(packet.sequence_number)) is not None:
                first.following.append(frame)
        return wants_keyframe, first

    def _remove_frame(self, sequence_number: int) -> ReceivedData | None:
        packets: list[RtpPacket] = []
        for offset in range(self._capacity):
            packet = self._packets[(self._origin + offset) % self._capacity]
            if packet is None:
                return None
            if packets and packet.timestamp != packets[0].timestamp:
                break
            packets.append(packet)
            if packet.marker:
                break
        else:
            return None
        self.remove(len(packets))
        frame = ReceivedData(
            b"".join(packet._data for packet in packets),
            packets[0].timestamp,
            max(packet.arrived for packet in packets),
        )
        frame.raw_timestamp = frame.timestamp
        return frame


class AudioForwarding:
    """Takes the place of a jitter buffer where Opus packets are forwarded undecoded: the watcher has its own.

    Packets that arrive out of order are left out, as the sender numbers them anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest: int | None = None
        self.last_arrival: float | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        self.last_arrival = self._clock()
        if self._newest is not None and not 0 < (packet.timestamp - self._newest) & 0xFFFFFFFF < 1 << 31:
            return False, None
        self._newest = packet.timestamp
        if not packet._data:
            return False, None
        return False, ReceivedData(packet._data, packet.timestamp, self.last_arrival)
