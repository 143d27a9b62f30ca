"""Reception over a bad path in simulated time: exact, and the same on a busy machine. Against aiortc's own parts."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import pytest
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RtpPacket

from benchmarks.shared.forwarder import Path
from server.media.receive.freezes import Freezes
from server.media.receive.jitter import VideoJitterBuffer
from server.media.receive.repair import KeyframeRequests, RoundTrip

FPS = 30
PACKETS, KEY_PACKETS = 3, 15  # of a frame
HISTORY = 128  # packets that the sender remembers, as aiortc does


class World:
    """A clock and what is to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.now), next(self._order), do))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = until


@dataclass
class Leg:
    """Both directions between a sender and a receiver."""

    world: World
    path: Path = field(default_factory=Path)
    random: random.Random = field(default_factory=lambda: random.Random(5))
    hold: float = 0.0  # seconds that the next packet is held
    repairs: bool = True
    plain: float = 0.002

    def carry(self, deliver: Callable[[], None]) -> None:
        if self.random.random() >= self.path.loss:
            delay = self.plain + self.path.delay + self.random.uniform(-1, 1) * self.path.jitter + self.hold
            self.hold = 0.0
            self.world.at(self.world.now + delay, deliver)


class Sender:
    """Sends frames, answers NACKs from its history, and makes a keyframe when it is asked for one."""

    def __init__(self, world: World, leg: Leg, fps: float = FPS, packets: int = PACKETS) -> None:
        self.world, self.leg, self.fps, self.packets = world, leg, fps, packets
        self.sequence = self.frame = 0
        self.key = True
        self.history: dict[int, RtpPacket] = {}
        self.receiver: Receiver | PlainReceiver
        self.keyframes = 0
        self.sent: dict[int, float] = {}
        world.at(0, self.send)

    def send(self) -> None:
        key, self.key = self.key, False
        self.keyframes += key
        count = KEY_PACKETS if key and self.packets > 1 else self.packets
        self.sent[self.frame] = self.world.now
        for index in range(count):
            packet = RtpPacket(
                97, int(index == count - 1), self.sequence & 0xFFFF, round(90000 * self.frame / self.fps)
            )
            packet.data = packet._data = b"\x00" if key else b"\x01"  # ours, and aiortc's
            packet.payload = (b"\x10" if index == 0 else b"\x00") + packet.data
            self.history[self.sequence & 0xFFFF] = packet
            self.history.pop((self.sequence - HISTORY) & 0xFFFF, None)
            self.sequence += 1
            self.carry(packet)
        self.frame += 1
        self.world.at(self.frame / self.fps, self.send)

    def carry(self, packet: RtpPacket) -> None:
        self.leg.carry(lambda: self.receiver.receive(packet))

    def nack(self, lost: list[int]) -> None:
        for number in lost:
            if (packet := self.history.get(number)) and self.leg.repairs:
                self.carry(packet)

    def pli(self) -> None:
        self.key = True


class Receiver:
    """The relay's reception, but for the sockets. `shown`: when each frame left, by its number."""

    def __init__(self, world: World, leg: Leg, sender: Sender) -> None:
        self.world, self.leg, self.sender = world, leg, sender
        self.round_trip = RoundTrip()
        self.jitter = VideoJitterBuffer(lambda kind: "VP8", self, self.round_trip, world)
        self.requests = KeyframeRequests(self.round_trip, world)
        self.shown: list[tuple[float, int]] = []
        self.lost = self.timers = 0
        sender.receiver = self
        self.probe()

    def probe(self) -> None:
        sent = self.world.now
        self.leg.carry(lambda: self.leg.carry(lambda: self.round_trip.add(self.world.now - sent)))
        self.world.at(sent + 1, self.probe)

    def packets(self, outcome: str, count: int) -> None:
        self.lost += count if outcome == "lost" else 0

    def skipped(self, frames: int) -> None: ...

    def receive(self, packet: RtpPacket) -> None:
        self.show(self.jitter.add(packet))

    def show(self, frames: list) -> None:
        self.shown += [(self.world.now, round(frame.timestamp * self.sender.fps / 90000)) for frame in frames]
        if asked := self.jitter.retransmissions.ask():
            self.leg.carry(lambda: self.sender.nack([number & 0xFFFF for number in asked]))
        due = self.jitter.due
        if self.jitter.wants_keyframe:
            if self.requests.ask():
                self.leg.carry(self.sender.pli)
            due = min(self.requests.due, self.requests.due if due is None else due)
        self.timers += 1  # the new one takes the place of those before
        if due is not None:
            self.world.at(due + 1e-4, lambda number=self.timers: self.timer(number))

    def timer(self, number: int) -> None:
        if number == self.timers:
            self.show(self.jitter.release())


class PlainReceiver:
    """aiortc's own jitter buffer and NACKs."""

    def __init__(self, world: World, leg: Leg, sender: Sender) -> None:
        self.world, self.leg, self.sender = world, leg, sender
        self.jitter, self.nacks = JitterBuffer(capacity=512, is_video=True), NackGenerator()
        self.shown: list[tuple[float, int]] = []
        sender.receiver = self

    def receive(self, packet: RtpPacket) -> None:
        if self.nacks.add(packet):
            lost = sorted(self.nacks.missing)
            self.leg.carry(lambda: self.sender.nack(lost))
        wants_keyframe, frame = self.jitter.add(packet)
        if wants_keyframe:
            self.leg.carry(self.sender.pli)
        if frame is not None:
            self.shown.append((self.world.now, round(frame.timestamp * self.sender.fps / 90000)))


@dataclass(frozen=True)
class Result:
    freezes: int
    longest: float
    before: float
    after: float
    keyframes: int


def simulate(
    kind: type,
    path: Path,
    seconds: float,
    hold: float = 0.0,
    repairs: bool = True,
    packets: int = PACKETS,
    fps: float = FPS,
) -> Result:
    """Ten seconds of a clean path, then the bad one, then ten clean ones; latencies are medians of five seconds."""
    world = World()
    leg = Leg(world)
    sender = Sender(world, leg, fps, packets)
    receiver = kind(world, leg, sender)
    world.run(10)
    before = median(latencies(receiver, sender, 5, 10))
    leg.path, leg.hold, leg.repairs = path, hold, repairs
    world.run(10 + seconds)
    leg.path, leg.repairs = Path(), True
    world.run(20 + seconds)
    freezes, longest, last = Freezes(), 0.0, 10.0
    for time, _ in receiver.shown:
        freezes.add(time)
        if time >= 10:
            longest = max(longest, time - last)
            last = time
    after = latencies(receiver, sender, 15 + seconds, 20 + seconds)
    longest = max(longest, world.now - last)
    return Result(freezes.count, longest, before, median(after or [float("inf")]), sender.keyframes)


def latencies(receiver: Receiver | PlainReceiver, sender: Sender, start: float, end: float) -> list[float]:
    return [time - sender.sent[number] for time, number in receiver.shown if start <= time < end]


def test_two_percent_of_loss_freeze_nothing() -> None:
    got = simulate(Receiver, Path(loss=0.02), 120)
    assert got.freezes == 0 and got.keyframes <= 2
    assert got.after == pytest.approx(got.before, abs=0.01)


def test_five_percent_of_loss_freeze_at_most_twice_a_minute() -> None:
    got = simulate(Receiver, Path(loss=0.05), 120)
    assert got.freezes <= 4
    assert got.after == pytest.approx(got.before, abs=0.01)
    assert simulate(PlainReceiver, Path(loss=0.05), 120).freezes > 10 * (got.freezes + 1)


@pytest.mark.parametrize(("loss", "at_most"), [(0.02, 1), (0.05, 8)])
def test_loss_on_a_way_of_fifty_milliseconds_is_repaired_before_it_is_seen(loss: float, at_most: int) -> None:
    got = simulate(Receiver, Path(loss=loss, delay=0.025, jitter=0.005), 120)
    assert got.freezes <= at_most
    assert got.after == pytest.approx(got.before, abs=0.01)


@pytest.mark.parametrize("packets", [1, PACKETS])
@pytest.mark.parametrize(("loss", "at_most"), [(0.02, 6), (0.05, 20)])
def test_the_end_of_a_frame_is_not_missed_only_when_the_next_one_comes(loss: float, at_most: int, packets: int) -> None:
    """At 20 frames a second that would be 50 ms too late: 30 and 70 freezes."""
    got = simulate(Receiver, Path(loss=loss, delay=0.05, jitter=0.01), 120, packets=packets, fps=20)
    assert got.freezes <= at_most
    assert got.after == pytest.approx(got.before, abs=0.01)


@pytest.mark.parametrize("delay", [0.05, 0.1])
def test_a_long_uneven_way_freezes_nothing(delay: float) -> None:
    got = simulate(Receiver, Path(delay=delay, jitter=delay / 5), 60)
    assert got.freezes == 0 or delay == 0.1
    assert got.freezes <= 1  # where the way becomes longer
    assert got.after == pytest.approx(got.before, abs=0.01)


@pytest.mark.parametrize("repairs", [True, False])
@pytest.mark.parametrize("packets", [1, PACKETS])
def test_a_held_packet_is_forgotten_within_a_second(repairs: bool, packets: int) -> None:
    got = simulate(Receiver, Path(), 1, 0.5, repairs, packets)
    assert got.longest < (0.3 if not repairs else 0.1)
    assert got.after == pytest.approx(got.before, abs=0.001)


def test_with_aiortc_a_held_packet_is_never_forgotten() -> None:
    got = simulate(PlainReceiver, Path(), 1, 0.5, repairs=False, packets=1)
    assert got.after > got.before + 0.4
