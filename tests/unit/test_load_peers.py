"""What publishers of `hime load` send when, and what its watchers count of what comes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from aiortc.codecs import depayload
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from hime_core.errors import InputError
from hime_core.video.picture import Picture
from server.client.load.encoded import EncodedClip, encode
from server.client.load.marker import NUMBERS, number_of, stamped
from server.client.load.replay import KEPT, Replay, SentLog
from server.client.load.sink import Sink, is_keyframe, read_number
from server.client.load.tally import percentile
from server.demo.command import CLIP
from server.media.send.packetize import packetizer

FPS = 20
OFFSET = 0xFFFF0000  # a relay's RTP timestamps pass zero soon


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a moving ramp, 160x90."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(2 * FPS):
            ramp = (np.arange(160)[None] + np.arange(90)[:, None] + 3 * number) % 200
            frame = av.VideoFrame.from_ndarray(np.repeat(ramp[..., None], 3, 2).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(path: Path) -> EncodedClip:
    return encode(path, "VP8", 300, (320, 180))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- the clip


@pytest.mark.parametrize("number", [0, 1, 0b101010101010, NUMBERS - 1])
def test_a_number_survives_a_poor_encoding_and_being_enlarged(number: int) -> None:
    texture = np.random.default_rng(3).integers(0, 255, (180, 320, 3), np.uint8)
    shown = stamped(Picture.from_rgb(texture), number).rgb()
    for width in (1280, 160):
        resized = cv2.resize(shown, (width, width * 9 // 16), interpolation=cv2.INTER_AREA)
        _, poor = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 15])
        assert number_of(Picture.from_rgb(cv2.imdecode(poor, cv2.IMREAD_COLOR)[..., ::-1].copy())) == number


def test_a_picture_without_blocks_tells_no_number() -> None:
    assert number_of(Picture.from_rgb(np.full((90, 160, 3), 128, np.uint8))) is None
    assert number_of(Picture.from_rgb(np.zeros((90, 8, 3), np.uint8))) is None


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_a_short_clip_is_encoded_again_and_again_and_each_frame_shows_its_index(path: Path, codec: Any) -> None:
    clip = encode(path, codec, 300)
    assert clip.size == (640, 360) and clip.fps == FPS
    assert len(clip.frames) == 4 * FPS and clip.keyframes == (0, 2 * FPS)
    for index, frame in enumerate(clip.frames):
        assert is_keyframe(codec, frame) == (index in clip.keyframes)
    assert [read_number(codec, clip.frames[index]) for index in clip.keyframes] == list(clip.keyframes)
    assert read_number(codec, b"nothing of a picture") is None


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_a_poor_rate_is_kept_and_numbers_can_still_be_read(codec: Any) -> None:
    """x264, opened for 40 kbit/s, has no room for a keyframe: it is grey."""
    clip = encode(CLIP, codec, 40, (320, 180))
    assert [read_number(codec, clip.frames[index]) for index in clip.keyframes] == list(clip.keyframes)
    assert 8 * sum(map(len, clip.frames)) / len(clip.frames) * clip.fps < 50_000


def test_a_clip_begins_again_where_it_is_told_to_at_a_keyframe(path: Path) -> None:
    clip = encode(path, "VP8", 300, (160, 90), loop_from=1.5)
    assert clip.loop == 30 and 30 in clip.keyframes
    assert clip.after(len(clip.frames) - 1) == 30 and clip.after(0) == 1
    assert clip.keyframe_from(31) in clip.keyframes and clip.keyframe_from(len(clip.frames)) == 30
    with pytest.raises(InputError, match=r"--loop-from 2: .* gives 2.0 s"):
        encode(path, "VP8", 300, loop_from=2.0)


# --- what is sent


async def test_frames_leave_at_the_clips_rate_and_the_first_follows_the_last(clip: EncodedClip, clock: Clock) -> None:
    replay = Replay(clip, clock, clock.sleep)
    sent = [await replay.recv() for _ in range(len(clip.frames) + 3)]
    assert [packet.pts for packet in sent] == [4500 * number for number in range(len(sent))]
    assert clock.now == pytest.approx(100.0 + (len(sent) - 1) / FPS)
    assert bytes(sent[-1]) == clip.frames[2]
    replay.stop()
    with pytest.raises(MediaStreamError):
        await replay.recv()


async def test_who_was_held_up_goes_on_from_there_and_sends_nothing_in_a_burst(clip: EncodedClip, clock: Clock) -> None:
    replay = Replay(clip, clock, clock.sleep)
    await replay.recv()
    clock.now += 1.0
    times = []
    for _ in range(3):
        await replay.recv()
        times.append(clock.now)
    assert times == pytest.approx([101.0, 101.0, 101.0 + 1 / FPS])  # one frame may be caught up with
    assert percentile(replay.log.late[0], 1.0) == pytest.approx(1.0 - 1 / FPS)


async def test_a_keyframe_comes_next_where_it_is_asked_for_but_not_at_every_moment(
    clip: EncodedClip, clock: Clock
) -> None:
    replay = Replay(clip, clock, clock.sleep)
    for _ in range(10):
        await replay.recv()
    replay.ask_keyframe()
    assert bytes(await replay.recv()) == clip.frames[40]
    replay.ask_keyframe()  # the one that has just left is on its way
    assert bytes(await replay.recv()) == clip.frames[41]


def test_the_log_knows_frames_by_timestamp_and_forgets_them(clip: EncodedClip) -> None:
    log = SentLog(clip)
    assert log.at(0) is None
    for number in range(1000):
        log.add(number % 80, float(number))
    assert log.count == 1000 and log.late[0].total() == 1000
    sent = log.at(clip.pts(990) + 3)  # rounded by a relay
    assert sent is not None and (sent.number, sent.time) == (990, 990.0)
    assert log.at(clip.pts(1000)) is None and log.at(clip.pts(1000 - round(KEPT * FPS) - 1)) is None
    showing = log.showing(30, 900.0)
    assert showing is not None and showing.number == 830


# --- what comes


class Way:
    """Carries what a Replay sends to a Sink. Keyframes are read at once."""

    def __init__(self, clip: EncodedClip, clock: Clock) -> None:
        self.replay = Replay(clip, clock, clock.sleep)
        self.sink = Sink(clip.codec, self.replay.log, lambda codec, data, tell: tell(read_number(codec, data)), clock)
        self.asked = 0
        self._pack, self._clock, self._number = packetizer(clip.codec), clock, 65530

    async def packets(self) -> list[Any]:
        """Of the next frame."""
        payloads, timestamp = self._pack(await self.replay.recv())
        made = []
        for index, payload in enumerate(payloads):
            packet: Any = RtpPacket(96, int(index == len(payloads) - 1), self._number & 0xFFFF)
            packet.timestamp, packet.ssrc, packet.payload = (timestamp + OFFSET) & 0xFFFFFFFF, 7, payload
            packet._data = depayload(RTCRtpCodecParameters("video/VP8", 90000), payload)
            self._number += 1
            made.append(packet)
        return made

    def arrive(self, packets: Sequence[Any], after: float = 0.0) -> None:
        self._clock.now += after
        for packet in packets:
            asked, none = self.sink.add(packet)
            assert none is None
            self.asked += asked

    async def call(self, frames: int, delay: float = 0.03) -> None:
        for _ in range(frames):
            self.arrive(await self.packets(), delay)


async def test_latency_is_from_a_frames_leaving_to_its_last_packet(clip: EncodedClip, clock: Clock) -> None:
    way = Way(clip, clock)
    way.replay.log.window = 1
    way.sink.begin()
    await way.call(50)
    way.replay.log.window = 2
    await way.call(10, 0.01)
    tally = way.sink.tally(1)
    assert (tally.frames, tally.watchers, tally.timed, tally.freezes, tally.lost) == (50, 1, 1, 0, 0)
    assert tally.percentile(0.5) == pytest.approx(0.03) and tally.percentile(1.0) == pytest.approx(0.03)
    assert tally.octets > 10_000 and way.asked == 0
    assert way.sink.first_frame == pytest.approx(100.03)


async def test_what_is_sent_in_a_window_counts_to_it_whenever_it_comes(clip: EncodedClip, clock: Clock) -> None:
    way = Way(clip, clock)
    await way.call(5)
    way.replay.log.window = 2
    late = [await way.packets() for _ in range(3)]
    way.replay.log.window = 3
    for packets in late:
        way.arrive(packets)
    assert way.sink.tally(2).frames == 3 and way.sink.tally(3).frames == 0


async def test_packets_of_a_window_are_told_after_it_is_over(clip: EncodedClip, clock: Clock) -> None:
    way = Way(clip, clock)
    way.sink.begin()
    await way.call(5)
    way.replay.log.window = 2
    way.sink.begin()
    await way.call(10)
    await way.packets()  # which are lost
    repaired, after = await way.packets(), await way.packets()
    way.arrive(after)
    way.replay.log.window = 3
    way.sink.begin()
    way.arrive(repaired)
    tally = way.sink.tally(2)
    assert tally.lost >= 1 and tally.recovered == len(repaired)
    assert tally.expected >= 10 + tally.lost + tally.recovered + len(after)


async def test_a_stop_is_a_freeze_and_a_lost_packet_costs_frames_until_a_keyframe(
    clip: EncodedClip, clock: Clock
) -> None:
    way = Way(clip, clock)
    way.sink.begin()
    await way.call(20)
    before = way.sink.tally(0).frames
    packets = await way.packets()
    way.arrive(packets[:-1])
    await way.call(15)  # none can be decoded; a keyframe is asked for
    assert way.asked >= 1 and way.sink.tally(0).frames == before
    way.replay.ask_keyframe()
    await way.call(5)
    tally = way.sink.tally(0)
    assert tally.frames == before + 5 and tally.lost == 1 and tally.freezes == 1
    assert tally.frozen_seconds == pytest.approx(17 / FPS, abs=0.05)


async def test_a_packet_that_comes_again_repairs_its_frame(clip: EncodedClip, clock: Clock) -> None:
    way = Way(clip, clock)
    way.sink.begin()
    await way.call(10)
    packets = await way.packets()
    following = await way.packets()
    way.arrive([*following, *packets])
    tally = way.sink.tally(0)
    assert tally.frames == 12 and tally.recovered == len(packets) and tally.lost == 0


async def test_where_the_number_cannot_be_told_frames_are_counted_and_keyframes_asked_for_three_times(
    clip: EncodedClip, clock: Clock
) -> None:
    way = Way(clip, clock)
    way.sink = Sink("VP8", way.replay.log, lambda codec, data, tell: tell(None), clock)
    await way.call(20 * FPS)
    tally = way.sink.tally(0)
    assert tally.frames == 20 * FPS and tally.timed == 0 and tally.percentile(0.5) is None
    assert way.asked == 3
