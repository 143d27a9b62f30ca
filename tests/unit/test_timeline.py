"""A watcher's timestamps and capture times, as streams follow one another; and tracks that are bound anew."""

from __future__ import annotations

import asyncio

from server.media.receive.capture import CaptureClock
from server.media.receive.jitter import ReceivedData
from server.media.send.bitrate import Bitrates
from server.media.send.timeline import Timeline
from server.media.send.tracks import AudioRelay, EncodedFrame, VideoFeed, VideoTrack
from tests.unit.enhancer_stage import Clock
from tests.unit.test_tracks import Source, Way


def capture(ssrc: int, shift: int = 0, ntp: int = 0, rate: int = 90000) -> CaptureClock:
    """shift: from the publisher's timestamps to the relay's; ntp: seconds at the publisher's timestamp 0."""
    made = CaptureClock(rate)
    made.counted(ssrc, 0, shift)
    if ntp:
        made.reported(ssrc, ntp << 32, 0)
    return made


def test_a_stream_begins_as_much_later_as_has_gone_by() -> None:
    clock = Clock()
    line = Timeline(capture(1, ntp=50), clock)
    assert [line.place(stamp) for stamp in (0, 3000, 9000)] == [0, 3000, 9000]
    assert line.ntp(9000 + 90000) == 51 << 32 | (9000 << 32) // 90000
    clock.now += 2.5
    line.go_on_with(capture(2, shift=500, ntp=80))
    assert line.ntp(9000) is None  # nothing of it has left
    assert line.place(700) == 9000 + round(2.5 * 90000)
    assert line.place(3700) == 9000 + round(2.5 * 90000) + 3000
    assert line.ntp(9000 + round(2.5 * 90000)) == (80 << 32) + (200 << 32) // 90000
    line.go_on_with(capture(3))
    assert line.place(-5) == 9000 + round(2.5 * 90000) + 3001  # always later, though no time has gone by


def test_before_anything_has_left_there_is_nothing_to_follow() -> None:
    line = Timeline(capture(1), Clock())
    line.go_on_with(capture(2))
    assert line.place(4000) == 4000


def frame(number: int, keyframe: bool = False) -> EncodedFrame:
    return EncodedFrame([b"x"], 3000 * number, keyframe, 99.0)


def test_a_track_goes_on_with_another_stream_from_a_keyframe_on() -> None:
    clock, way, left, sources = Clock(), Way(), [], [Source(), Source()]
    starts = [lambda track, source=source: setattr(track, "source", source) for source in sources]
    track = VideoTrack(Bitrates(), VideoFeed(capture(1), starts[0]), clock)
    track.on_released(lambda: left.append(1))
    track.start(way)
    track.put(frame(7, keyframe=True))
    track.put(frame(8))
    assert track.audio_delay() > 0
    track.release()
    track.release()
    assert left == [1] and track.source is None and not track.ended and track.audio_delay() == 0
    track.put(frame(9, keyframe=True))
    track.request_keyframe("request")  # of nobody
    clock.now += 1
    track.bind(VideoFeed(capture(2), starts[1]))
    assert track.source is sources[1]
    for number in range(4):
        track.put(frame(number, keyframe=number == 1))
    assert [one.timestamp for one in way.frames] == [21000, 24000, 114000, 117000, 120000]
    assert [one.keyframe for one in way.frames] == [True, False, True, False, False]
    track.stop()
    assert left == [1]


def test_one_that_is_not_connected_yet_starts_with_the_stream_of_then() -> None:
    started: list[str] = []
    track = VideoTrack(Bitrates(), VideoFeed(capture(1), lambda track: started.append("first")))
    track.release()
    track.start(Way())
    assert started == []
    track.bind(VideoFeed(capture(2), lambda track: started.append("second")))
    assert started == ["second"]


def packet(number: int, arrived: float) -> ReceivedData:
    return ReceivedData(b"x", 960 * number, arrived, 111, ssrc=5, sent=0)


async def test_sound_of_the_stream_before_is_not_played_into_the_next() -> None:
    clock = Clock()
    before, after = AudioRelay(clock=clock), AudioRelay(clock=clock)
    wait = 0.0
    track = before.watch(lambda: wait)
    before.receive(packet(3, clock.now))
    first = await track.next()
    assert first is not None and first.timestamp == 2880
    wait = 0.02
    before.receive(packet(4, clock.now))
    before.receive(packet(5, clock.now))
    waiting = asyncio.ensure_future(track.next())
    await asyncio.sleep(0)
    track.release()
    assert not before._tracks
    assert after.watch(track=track) is track
    clock.now += 1
    after.receive(packet(0, clock.now))
    second = await waiting
    assert second is not None and second.timestamp == 2880 + 48000
    before.receive(packet(6, clock.now))
    assert not track._packets


async def test_one_that_has_ended_is_bound_to_nothing() -> None:
    relay = AudioRelay()
    track = relay.watch()
    track.stop()
    assert relay.watch(track=track).ended and not relay._tracks
