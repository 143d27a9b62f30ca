from __future__ import annotations

import asyncio

import pytest

from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import ReceivedData
from server.media.send.bitrate import Bitrates
from server.media.send.tracks import MAX_AUDIO_PACKETS, SOUND_LEAD, AudioRelay, EncodedFrame, VideoFeed, VideoTrack


def packet(number: int, arrived: float) -> ReceivedData:
    return ReceivedData(bytes([number % 256]), 960 * number, arrived, 111, ssrc=5, sent=0)


class Clock:
    """Stands still but for what is slept."""

    now = 10.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr("server.media.send.tracks.asyncio.sleep", sleep)
    return clock


class Way:
    """To a watcher, with room unless told otherwise."""

    def __init__(self) -> None:
        self.congested = False
        self.frames: list[EncodedFrame] = []

    def send(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)


async def test_audio_waits_as_long_as_video(clock: Clock) -> None:
    delay = 0.1
    relay = AudioRelay(clock=clock)
    track = relay.watch(lambda: delay)
    relay.receive(packet(1, clock.now))
    relay.receive(packet(2, clock.now + 0.02))
    assert (await track.next()).timestamp == 960
    assert clock.now == pytest.approx(10.1)
    delay = 0.05  # video became quicker: the order stays
    assert (await track.next()).timestamp == 1920
    assert clock.now == pytest.approx(10.1)


async def test_old_audio_is_left_out_and_the_queue_is_bounded(clock: Clock) -> None:
    relay = AudioRelay(clock=clock)
    track = relay.watch()
    for number in range(200):  # four seconds before anyone reads
        relay.receive(packet(number, 6.0 + 0.02 * number))
    assert len(track._packets) == MAX_AUDIO_PACKETS
    assert (await track.next()).timestamp == 960 * 195  # of the last tenth of a second
    track.stop()
    relay.receive(packet(1, clock.now))
    assert await track.next() is None


async def test_the_first_packet_is_told_once_and_closing_ends_the_tracks(clock: Clock) -> None:
    told: list[int] = []
    relay = AudioRelay(lambda: told.append(1), clock)
    track = relay.watch()
    waiting = asyncio.ensure_future(track.next())
    for _ in range(3):
        relay.receive(packet(1, clock.now))
    assert (await waiting).timestamp == 960
    relay.close()
    assert told == [1]
    assert track.ended and not relay._tracks


async def test_audio_waits_for_what_its_own_watcher_sees_but_for_what_it_may_lead(clock: Clock) -> None:
    quick, slow = (VideoTrack(Bitrates(), VideoFeed(CaptureClock(90000)), clock) for _ in range(2))
    assert quick.audio_delay() == 0  # before there is anything to see
    for track, latency in ((quick, 0.01), (slow, 0.2)):
        track.start(Way())
        track.put(EncodedFrame([b""], 0, True, clock.now - latency))
    assert (quick.audio_delay(), slow.audio_delay()) == (0, pytest.approx(0.2 - SOUND_LEAD))
    for _ in range(9):
        slow.put(EncodedFrame([b""], 0, False, clock.now - 9))
    assert slow.audio_delay() == 0.25


class Source:
    def __init__(self) -> None:
        self.requests: list[str] = []

    def request_keyframe(self, track: VideoTrack, reason: str) -> None:
        self.requests.append(reason)

    def path_changed(self, track: VideoTrack) -> None: ...


def frame(number: int, keyframe: bool = False) -> EncodedFrame:
    return EncodedFrame([b"x"], number, keyframe, 10.0)


def test_a_watcher_gets_frames_from_its_start_and_a_keyframe_on_until_the_end(clock: Clock) -> None:
    started: list[VideoTrack] = []
    ended: list[bool] = []
    track, way = VideoTrack(Bitrates(), VideoFeed(CaptureClock(90000), started.append), clock), Way()
    track.on_released(lambda: ended.append(True))
    track.put(frame(0, keyframe=True))
    track.start(way)
    track.start(way)
    assert started == [track]
    for number in range(1, 5):
        track.put(frame(number, keyframe=number == 3))
    track.stop()
    track.stop()
    track.put(frame(5))
    assert [one.timestamp for one in way.frames] == [3, 4]
    assert ended == [True]


def test_a_track_that_has_ended_is_not_started(clock: Clock) -> None:
    track = VideoTrack(Bitrates(), VideoFeed(CaptureClock(90000), lambda track: pytest.fail("started")), clock)
    track.stop()
    track.start(Way())


def test_a_congested_watcher_loses_frames_and_goes_on_with_a_keyframe(clock: Clock) -> None:
    skipped: list[int] = []
    track = VideoTrack(Bitrates(), VideoFeed(CaptureClock(90000), on_skipped=skipped.append), clock)
    way, source = Way(), Source()
    track.source = source
    track.start(way)
    track.put(frame(0, keyframe=True))
    way.congested = True
    for number in range(1, 4):
        track.put(frame(number, keyframe=number == 2))
    assert sum(skipped) == 3 and not source.requests  # whoever has stalled for good costs the others nothing
    way.congested = False
    track.put(frame(4))
    assert source.requests == ["overflow"] and sum(skipped) == 4
    track.put(frame(5, keyframe=True))
    track.put(frame(6))
    assert [one.timestamp for one in way.frames] == [0, 5, 6]
    assert sum(skipped) == 4
