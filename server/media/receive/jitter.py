"""Jitter buffers: frames leave as soon as they are whole, and all that are whole at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.media.receive.payload import PayloadInfo, payload_info
from server.media.receive.repair import Retransmissions, RoundTrip
from server.media.receive.rtp import Packet

CAPACITY = 512  # packets from the next to be released to the newest
REORDERED = 64  # packets before the first that came, which may still come
VIDEO_CLOCK = 90000  # RTP timestamps per second
NOBODY = -1  # in the place of an SSRC
LONGEST_INTERVAL = 0.1  # seconds between frames, up to which the next one is expected as long after


@dataclass(slots=True, eq=False)
class ReceivedData:
    """An encoded frame, or an audio packet.

    timestamp: counted from the first one's; arrived: when its last packet came, clock seconds. ssrc, sent: whose it is,
    and the RTP timestamp as the sender gave it.
    """

    data: bytes
    timestamp: int
    arrived: float
    payload_type: int
    ssrc: int
    sent: int


class ReceiveEvents(Protocol):
    """Told of what the network did."""

    def packets(self, outcome: str, count: int) -> None:
        """outcome: recovered (came after a later one), lost (given up), late (twice, or after being given up)."""

    def skipped(self, frames: int) -> None:
        """Frames that came in part, or whole but with nothing to decode them with."""


@dataclass(slots=True, eq=False)  # frozen ones take four times as long to make
class _Held:
    """A packet in the buffer."""

    timestamp: int
    marker: bool
    data: bytes
    payload_type: int
    arrived: float
    info: PayloadInfo


class VideoJitterBuffer:
    """Puts packets in order and cuts them into frames. Bounded; no timers inside.

    A frame is released on its RTP marker bit, or on the next frame's first packet where there is none. Behind a gap
    frames wait until it is filled or a whole keyframe stands behind it, whichever comes first. `wants_keyframe` says
    when the latter should be asked for: when the gap is older than two round trips, or when what comes next cannot be
    decoded without. Frames up to that keyframe are skipped, as they would decode to smears. A gap within a frame
    that no other needs costs that frame only.

    aiortc's waits for the next frame's packet, and gives one frame per packet at most, so that one held packet delays
    everything after it for good; and it waits for a lost packet until 512 more have come.
    """

    def __init__(
        self,
        codec: Callable[[int], str],
        events: ReceiveEvents,
        round_trip: RoundTrip,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """codec: the name of a payload type's codec."""
        self.retransmissions = Retransmissions(round_trip, clock)
        self._codec = codec
        self._events = events
        self._round_trip = round_trip
        self._clock = clock
        self._packets: dict[int, _Held] = {}
        self._intra: list[int] = []  # packets in which a keyframe may start, as they came
        self._next = 0  # the first number that has been neither released nor given up
        self._newest = 0  # the highest number that has come
        self._ssrc = NOBODY
        self._undecodable = "start"  # why frames before the next keyframe are of no use, "" where they are
        self._newest_sent: int | None = None  # RTP timestamp of the newest packet
        self._interval = float("inf")  # seconds between the newest frame and the one before
        self._timestamp: tuple[int, int, float] | None = None  # the last frame's, as sent, as given, and its arrival

    # --- in

    def add(self, packet: Packet) -> list[ReceivedData]:
        """Takes a packet, its payload without the codec's descriptor in `data`; the frames that became whole."""
        number = self._unwrapped(packet)
        if number < self._next or number in self._packets:
            self._events.packets("late", 1)
            return []
        info = payload_info(self._codec(packet.payload_type), packet.payload)
        self._packets[number] = _Held(
            packet.timestamp, bool(packet.marker), packet.data, packet.payload_type, self._clock(), info
        )
        if info.intra:
            self._intra.append(number)
        if self.retransmissions.arrived(number):
            self._events.packets("recovered", 1)
        if number > self._newest:
            self.retransmissions.missing(self._newest + 1, number)
            self._newest = number
            self._expect_next(packet)
        if self._newest - self._next >= CAPACITY:
            self._give_up(self._newest + 1)
            self.await_keyframe("gap")
        if number >= self._next and (self.calm or number == self._newest) and self._goes_on(number):
            return []
        return self.release()

    @property
    def calm(self) -> bool:
        """Whether no packet is missing, and whatever comes next can be decoded."""
        return not self._undecodable and not self.retransmissions.any

    def await_keyframe(self, reason: str) -> None:
        """Nothing before the next keyframe can be decoded: reason says why."""
        self._undecodable = reason

    # --- out

    def release(self) -> list[ReceivedData]:
        """The frames that can be decoded now."""
        frames = []
        while self._packets:
            end = None if self._undecodable else self._end_of_frame(self._next)
            if end is None:
                start = self._start_of_whole_keyframe() or self._past_discardable_gap()
                if start is None:
                    break
                self._give_up(start)
                self._undecodable = ""
                continue
            held = [self._packets.pop(number) for number in range(self._next, end)]
            self._next = end
            self._intra = [number for number in self._intra if number >= end]
            if data := b"".join(one.data for one in held):  # else it is padding
                frames.append(self._frame(data, held))
        return frames

    @property
    def wants_keyframe(self) -> str:
        """Why a keyframe is to be asked for now, or ""."""
        reason = self._undecodable or ("gap" if self._overdue(self._next) else "")
        return "" if reason and self._keyframe_is_coming() else reason

    @property
    def due(self) -> float | None:
        """When there is something to do without a packet: to ask for one, or for a keyframe."""
        since, ask = self.retransmissions.oldest(self._next), self.retransmissions.due
        deadline = None if since is None else since + self._round_trip.gap_deadline
        times = [] if deadline is None or deadline <= self._clock() else [deadline]
        return min(times if ask is None else [*times, ask], default=None)

    # --- inside

    def _goes_on(self, number: int) -> bool:
        """Whether a packet only makes a frame longer that is not at its end: most do, and long frames have many."""
        packet, before = self._packets[number], self._packets.get(number - 1)
        return not packet.marker and before is not None and before.timestamp == packet.timestamp

    def _overdue(self, start: int) -> bool:
        """Whether a packet from there on is missing for too long."""
        since = self.retransmissions.oldest(start)
        return since is not None and since + self._round_trip.gap_deadline <= self._clock()

    def _keyframe_is_coming(self) -> bool:
        """Whether the newest one's packets are still on their way, lost ones within the deadline."""
        if not self._intra:
            return False
        start = max(self._intra)
        arriving = self._packets[self._newest].timestamp == self._packets[start].timestamp
        return arriving or not self._overdue(start)

    def _unwrapped(self, packet: Packet) -> int:
        """The packet's number, counted on past 16 bits. Starts anew where the sender does."""
        if packet.ssrc == self._ssrc:
            ahead = (packet.sequence_number - self._newest + 0x8000 & 0xFFFF) - 0x8000
            if abs(ahead) < CAPACITY:
                return self._newest + ahead
        if self._ssrc != NOBODY:
            self._give_up(self._newest + 2)  # with what was expected
            self.await_keyframe("restart")
        self._ssrc = packet.ssrc
        start = packet.sequence_number + (1 << 16)
        self._next, self._newest = start - REORDERED, start - 1
        return start

    def _end_of_frame(self, start: int) -> int | None:
        """One past the last packet of the frame that starts there, if it is whole."""
        number, timestamp = start, None
        while (packet := self._packets.get(number)) is not None:
            if timestamp is not None and packet.timestamp != timestamp:
                return number
            number, timestamp = number + 1, packet.timestamp
            if packet.marker:
                return number
        return None

    def _start_of_whole_keyframe(self) -> int | None:
        """Of the newest one behind the gap. Each frame is looked at once, however many of its packets may start one."""
        seen: set[int] = set()
        for start in reversed(self._intra):
            before = None
            while start not in seen:
                seen.add(start)
                before = self._packets.get(start - 1)
                if before is None or self._between(before, self._packets[start]):
                    break
                start -= 1
            else:
                continue
            begins = self._packets[start].info.begins or before is not None
            if begins and self._end_of_frame(start) is not None:
                return start
        return None

    def _past_discardable_gap(self) -> int | None:
        """The first packet of the next frame where what is overdue belongs to one frame that no other needs."""
        first = self._packets.get(self._next)
        if first is None or self._undecodable or not self._overdue(self._next):
            return None
        for number in range(self._next, self._newest + 1):
            packet = self._packets.get(number)
            if packet is None:
                continue
            if packet.timestamp != first.timestamp:
                return number if self._packets.get(number - 1) else None
            if not packet.info.discardable:
                return None
            if packet.marker:
                return number + 1
        return None

    def _expect_next(self, newest: Packet) -> None:
        """The rest of an unfinished frame at once, the next one as long after it as it came after the one before."""
        last, self._newest_sent = self._newest_sent, newest.timestamp
        if last is not None and newest.timestamp != last:
            self._interval = (newest.timestamp - last & 0xFFFFFFFF) / VIDEO_CLOCK
        if not newest.marker:
            self.retransmissions.expect(self._newest + 1, 0.0)
        elif self._interval <= LONGEST_INTERVAL:
            self.retransmissions.expect(self._newest + 1, self._interval)

    @staticmethod
    def _between(before: _Held, after: _Held) -> bool:
        return before.marker or before.timestamp != after.timestamp

    def _give_up(self, end: int) -> None:
        """Goes on at `end`."""
        skipped = {self._packets.pop(number).timestamp for number in range(self._next, end) if number in self._packets}
        self._events.skipped(len(skipped))
        self._events.packets("lost", self.retransmissions.forget(end))
        self._intra = [number for number in self._intra if number >= end]
        self._next = end

    def _frame(self, data: bytes, held: list[_Held]) -> ReceivedData:
        arrived = max(one.arrived for one in held)
        sent = held[0].timestamp
        if self._timestamp is None:
            given = 0
        else:
            last_sent, last_given, last_arrived = self._timestamp
            since = (sent - last_sent + (1 << 31) & 0xFFFFFFFF) - (1 << 31)
            if not 0 <= since < 60 * VIDEO_CLOCK:  # another clock: the sender has started anew
                since = max(1, round((arrived - last_arrived) * VIDEO_CLOCK))
            given = last_given + since
        self._timestamp = sent, given, arrived
        return ReceivedData(data, given, arrived, held[0].payload_type, self._ssrc, sent)


class AudioForwarding:
    """Takes the place of a jitter buffer where Opus packets are forwarded undecoded: the watcher has its own.

    Packets that arrive out of order are left out, as the sender numbers them anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest: int | None = None
        self._given = 0  # the newest one's timestamp, counted from the first one's
        self.last_arrival: float | None = None

    def add(self, packet: Packet) -> ReceivedData | None:
        """None where the packet is not to be forwarded."""
        self.last_arrival, sent = self._clock(), packet.timestamp
        since = 0 if self._newest is None else sent - self._newest & 0xFFFFFFFF
        if self._newest is not None and not 0 < since < 1 << 31:
            return None
        self._newest, self._given = sent, self._given + since
        if not packet.data:
            return None
        return ReceivedData(packet.data, self._given, self.last_arrival, packet.payload_type, packet.ssrc, sent)
