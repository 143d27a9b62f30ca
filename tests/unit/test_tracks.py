from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import pytest
from aiortc.mediastreams import MediaStreamError

from server.media.receive.capture import CaptureClock
from server.media.send.bitrate import Bitrates
from server.media.send.tracks import MAX_AUDIO_PACKETS, AudioRelay, EncodedFrame, VideoTrack


def packet(number: int) -> av.Packet:
    made = av.Packet(bytes([number]))
    made.pts, made.time_base = 960 * number, Fraction(1, 48000)
    return made


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


async def test_audio_waits_as_long_as_video(clock: Clock) -> None:
    delay = 0.1
    relay = AudioRelay(clock=clock)
    track = relay.watch(lambda: delay)
    relay.receive(packet(1), clock.now)
    relay.receive(packet(2), clock.now + 0.02)
    assert (await track.recv()).pts == 960
    assert clock.now == pytest.approx(10.1)
    delay = 0.05  # video became quicker: the order stays
    assert (await track.recv()).pts == 1920
    assert clock.now == pytest.approx(10.1)


async def test_old_audio_is_left_out_and_the_queue_is_bounded(clock: Clock) -> None:
    relay = AudioRelay(clock=clock)
    track = relay.watch()
    for number in range(200):  # four seconds before anyone reads
        relay.receive(packet(number % 256), 6.0 + 0.02 * number)
    assert len(track._packets) == MAX_AUDIO_PACKETS
    assert (await track.recv()).pts == 960 * 195  # of the last tenth of a second
    track.stop()
    relay.receive(packet(1), clock.now)
    with pytest.raises(MediaStreamError):
        await track.recv()


async def test_the_first_packet_is_told_once_and_closing_ends_the_tracks(clock: Clock) -> None:
    told: list[int] = []
    relay = AudioRelay(lambda: told.append(1), clock)
    track = relay.watch()
    waiting = asyncio.ensure_future(track.recv())
    for _ in range(3):
        relay.receive(packet(1), clock.now)
    assert (await waiting).pts == 960
    relay.close()
    assert told == [1]
    assert track.readyState == "ended" and not relay._tracks


async def test_audio_waits_for_what_its_own_watcher_sees(clock: Clock) -> None:
    quick, slow = (VideoTrack(Bitrates(), CaptureClock(90000), clock=clock) for _ in range(2))
    assert quick.audio_delay() == 0  # before there is anything to see
    for track, latency in ((quick, 0.01), (slow, 0.2)):
        track.put(EncodedFrame([b""], 0, True, clock.now - latency))
        await track.recv()
    assert (quick.audio_delay(), slow.audio_delay()) == (pytest.approx(0.01), pytest.approx(0.2))
    for _ in range(9):
        slow.put(EncodedFrame([b""], 0, False, clock.now - 9))
        await slow.recv()
    assert slow.audio_delay() == 0.25
