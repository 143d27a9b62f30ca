"""One encoding, many watchers: what each gets, and what none can do to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from benchmarks.shared.peers import numbered, until
from hime_core.video.picture import Picture
from server.media.receive.capture import CaptureClock
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import Encoding, VideoEncoder
from server.media.send.fanout import MAX_UNDELIVERED, REVIEW, EncodedStream
from server.media.send.layer_encoder import Shown
from server.media.send.tracks import EncodedFrame, VideoFeed, VideoTrack
from server.media.send.trial import CALM
from server.observability.metrics import Metrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Encoder(VideoEncoder):
    """Counts, and fails or waits when told to."""

    made: list[str]
    sizes: list[tuple[int, int]]
    frames: int
    failing: int
    gate: threading.Event

    def __init__(self, name: str, width: int, height: int, bitrates: Bitrates) -> None:
        type(self).made.append(name)
        type(self).sizes.append((width, height))
        super().__init__("libx264" if name == "h264_nvenc" else name, width, height, bitrates)

    def encode(self, frame: av.VideoFrame, bitrate: int, keyframe: bool = False) -> av.Packet | None:
        kind = type(self)
        kind.gate.wait(5)
        kind.frames += 1
        if kind.failing:
            kind.failing -= 1
            raise RuntimeError("on purpose")
        return super().encode(frame, bitrate, keyframe)


class Setup:
    """A stream that is fed by hand on a clock that stands still."""

    def __init__(self, codec: str = "VP8", h264: str = "libx264") -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        gate = threading.Event()
        gate.set()
        self.encoder = type("Counted", (Encoder,), {"made": [], "sizes": [], "frames": 0, "failing": 0, "gate": gate})
        loop = asyncio.get_running_loop()
        self.encoding = Encoding(h264=h264)
        self.stream = EncodedStream(codec, self.encoding, self.metrics, loop, self.clock, self.encoder)
        self.codec = codec
        self.number = 0
        self.skipped = 0

    def track(self) -> VideoTrack:
        def skipped(frames: int) -> None:
            self.skipped += frames

        feed = VideoFeed(CaptureClock(90000), self.stream.add, on_skipped=skipped)
        track = VideoTrack(self.encoding.bitrates, feed, self.clock)
        track.codec = self.codec
        return track

    def put(self, width: int = 160) -> None:
        grey = np.full((45, width // 2), 128, np.uint8)
        picture = Picture(numbered(width, 90, self.number), grey, grey)
        self.stream.put(Shown(picture, 3000 * self.number, Fraction(1, 90000), self.clock.now))
        self.number += 1

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Those of the encoders that were made."""
        return self.encoder.sizes

    async def show(self, frames: int = 1, width: int = 160, encodes: int = 1) -> None:
        """Puts frames in, each once the one before is encoded, 1/16 s apart. encodes: layers of each, at least."""
        for _ in range(frames):
            done = self.encoder.frames + encodes
            self.put(width)
            await until(lambda done=done: self.encoder.frames >= done)
            await asyncio.sleep(0.01)  # to be handed out
            self.clock.now += 1 / 16

    def count(self, metric: str, **labels: str) -> float:
        samples = (sample for family in self.metrics.registry.collect() for sample in family.samples)
        return sum(s.value for s in samples if s.name == metric and labels.items() <= s.labels.items())


@asynccontextmanager
async def setup(*args: str) -> AsyncIterator[Setup]:
    made = Setup(*args)
    try:
        yield made
    finally:
        made.encoder.gate.set()
        made.stream.close()
        await asyncio.to_thread(made.stream.join)
        assert not made.stream.alive


class Watcher:
    """A connected one, that keeps the frames which are sent to it."""

    def __init__(self, track: VideoTrack) -> None:
        self.track = track
        self.frames: list[EncodedFrame] = []
        self.congested = False
        track.start(self)

    def send(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)


@pytest.mark.parametrize("watchers", [2, 10])
async def test_one_encode_per_frame_however_many_watch(watchers: int) -> None:
    async with setup() as this:
        everyone = [Watcher(this.track()) for _ in range(watchers)]
        await this.show(20)
        assert this.encoder.frames == 20 and this.encoder.made == ["libvpx"]
        for watcher in everyone:
            assert watcher.frames == everyone[0].frames and len(watcher.frames) == 20
        assert this.count("hime_stage_duration_seconds_count", stage="encode") == 20
        assert this.count("hime_keyframes_total") == this.count("hime_keyframes_total", reason="start") == 1


async def test_who_joins_begins_with_a_keyframe() -> None:
    async with setup() as this:
        first = Watcher(this.track())
        await this.show(12)
        second = Watcher(this.track())
        await this.show(3)
        assert second.frames == first.frames[12:] and second.frames[0].keyframe
        third = Watcher(this.track())  # soon after: gets the next keyframe that is due
        await this.show(12)
        keys = [number for number, frame in enumerate(first.frames) if frame.keyframe]
        assert keys == [0, 12, 20]
        assert third.frames == first.frames[20:]
        assert this.count("hime_keyframes_total", reason="join") == 2


async def test_a_storm_of_requests_is_one_keyframe_each_half_second() -> None:
    async with setup() as this:
        watcher = Watcher(this.track())
        for _ in range(40):  # two and a half seconds
            for _ in range(20):
                watcher.track.request_keyframe("request")
            await this.show()
        assert [number for number, frame in enumerate(watcher.frames) if frame.keyframe] == [0, 8, 16, 24, 32]


async def test_a_watcher_on_too_narrow_a_path_gets_fewer_keyframes_and_is_counted_once() -> None:
    async with setup() as this:
        good, bad = Watcher(this.track()), Watcher(this.track())
        await this.show(2)
        for _ in range(3):
            bad.track.path._sent.add(8_000_000)
            bad.track.estimated(50_000)
        good.track.estimated(3_000_000)
        assert this.count("hime_layer_changes_total", layer="reduced") == 1
        assert this.count("hime_narrow_paths_total") == 1
        for _ in range(70):
            bad.track.request_keyframe("request")
            await this.show()
        assert [number for number, frame in enumerate(good.frames) if frame.keyframe] == [0]
        keys = [number for number, frame in enumerate(bad.frames) if frame.keyframe]
        assert keys == [0, 2, 50]  # of the full layer, and two of the reduced one, three seconds apart
        assert this.stream.full.target.value > 1_500_000


def narrow(watcher: Watcher, rate: int) -> None:
    """Lets its path be found to carry so many bit/s only."""
    watcher.track.path.begin(rate)
    watcher.track.measured()


async def test_a_poor_watcher_gets_a_smaller_picture_and_lowers_nobody_else_s() -> None:
    async with setup() as this:
        good, poor = Watcher(this.track()), Watcher(this.track())
        for watcher in (good, poor):
            narrow(watcher, 4_000_000)
        await this.show(4, width=640)
        assert this.encoder.frames == 4  # the reduced layer costs nothing while nobody needs it
        narrow(poor, 300_000)
        assert this.stream.full.target.value >= 2_000_000 and this.stream.reduced.target.value == 300_000
        await this.show(6, width=640, encodes=2)
        assert len(good.frames) == 10
        assert [frame.keyframe for frame in good.frames] == [True] + [False] * 9
        assert poor.frames[:4] == good.frames[:4]
        assert [frame.keyframe for frame in poor.frames[4:]] == [True] + [False] * 5
        assert this.sizes == [(640, 90), (320, 44)]
        timestamps = [frame.timestamp for frame in poor.frames]
        assert timestamps == [frame.timestamp for frame in good.frames]  # none twice, and none missing
        assert this.count("hime_layer_changes_total", layer="reduced") == 1


async def test_a_path_that_was_poor_gets_the_full_picture_after_a_while_at_a_keyframe() -> None:
    async with setup() as this:
        good, poor = Watcher(this.track()), Watcher(this.track())
        narrow(good, 4_000_000)
        narrow(poor, 300_000)
        await this.show(4, width=640, encodes=2)
        for _ in range(80):  # five seconds
            narrow(poor, 4_000_000)
            await this.show(width=640)
        assert this.count("hime_layer_changes_total", layer="full") == 1
        assert poor.frames[-1] is good.frames[-1] and len(poor.frames) == len(good.frames) == 84
        first = next(n for n, (one, other) in enumerate(zip(poor.frames, good.frames, strict=True)) if one is other)
        assert first > 60 and poor.frames[first].keyframe
        encoded = this.encoder.frames
        await this.show(3, width=640)
        assert this.encoder.frames == encoded + 3  # the reduced layer is not encoded any more


async def test_a_watcher_alone_on_a_path_too_poor_for_the_full_picture_gets_the_reduced_one() -> None:
    async with setup() as this:
        poor = Watcher(this.track())
        narrow(poor, 200_000)
        await this.show(3, width=640)
        assert len(poor.frames) == 3 and (320, 44) in this.sizes
        assert this.stream.reduced.target.value == 200_000


async def test_no_layer_is_encoded_that_nobody_gets() -> None:
    async with setup() as this:
        alone = Watcher(this.track())
        narrow(alone, 4_000_000)
        await this.show(4, width=640)
        narrow(alone, 200_000)
        await this.show(width=640, encodes=2)  # which brings it the first one of the reduced layer
        encoded = this.encoder.frames
        await this.show(10, width=640)
        assert this.encoder.frames == encoded + 10 and this.sizes == [(640, 90), (320, 44)]
        for _ in range(80):
            narrow(alone, 4_000_000)
            await this.show(width=640)
        assert this.sizes == [(640, 90), (320, 44), (640, 90)]
        keys = [number for number, frame in enumerate(alone.frames) if frame.keyframe]
        assert len(keys) == 3 and keys[:2] == [0, 4] and keys[2] > 60
        timestamps = [frame.timestamp for frame in alone.frames]
        assert timestamps == [3000 * number for number in range(95)]  # none twice, and none missing
        encoded = this.encoder.frames
        await this.show(3, width=640)
        assert this.encoder.frames == encoded + 3


async def test_the_full_layer_is_tried_where_padding_cannot_show_a_path_and_lowers_nobody_else_s() -> None:
    async with setup() as this:
        good, poor = Watcher(this.track()), Watcher(this.track())
        poor.track.padded = False
        narrow(good, 4_000_000)
        narrow(poor, 1_000_000)
        await this.show(2, width=640, encodes=2)
        this.clock.now += CALM
        narrow(poor, 1_000_000)
        await this.show(20, width=640)  # past the interval between keyframes
        assert this.count("hime_layer_changes_total", layer="full") == 1
        assert poor.frames[-1] is good.frames[-1] and len(poor.frames) == 22
        assert this.stream.full.target.value >= 2_000_000
        narrow(poor, 800_000)
        await this.show(2, width=640, encodes=2)
        assert this.count("hime_layer_changes_total", layer="reduced") == 2
        assert poor.frames[-1] is not good.frames[-1] and len(poor.frames) == 24


async def test_all_paths_are_looked_at_together_now_and_then_and_one_that_becomes_narrow_at_once() -> None:
    async with setup() as this:
        everyone = [Watcher(this.track()) for _ in range(30)]
        looks, share_out = [], this.stream._share_out
        this.stream._share_out = lambda: looks.append(this.clock.now) or share_out()  # type: ignore[method-assign]
        for _ in range(40):  # two reports of each in 0.1 s
            for watcher in everyone:
                narrow(watcher, 2_500_000)
            this.clock.now += REVIEW / 2
        assert 10 < len(looks) <= 20  # and not for each of 1200 reports
        assert this.stream.full.target.value == 2_500_000
        narrow(everyone[7], 2_500_000)
        narrow(everyone[8], 1_500_000)
        assert this.stream.full.target.value == 1_500_000
        narrow(everyone[9], 1_000_000)
        assert everyone[9].track.reduced


async def test_the_best_path_keeps_the_full_picture_when_it_becomes_narrower_between_two_looks_at_all() -> None:
    async with setup() as this:
        wide, gone = Watcher(this.track()), Watcher(this.track())
        narrow(gone, 4_000_000)
        narrow(wide, 3_900_000)
        this.stream.remove(gone.track)
        narrow(wide, 1_900_000)  # less than half of the one that has left
        assert not wide.track.reduced
        this.clock.now += REVIEW
        narrow(wide, 4_000_000)
        narrow(wide, 1_300_000)  # less than half of its own
        assert not wide.track.reduced and this.stream.full.target.value == 1_300_000
        other = Watcher(this.track())
        narrow(other, 3_000_000)
        narrow(wide, 1_300_000)
        assert wide.track.reduced and not other.track.reduced


async def test_a_new_size_is_one_keyframe() -> None:
    async with setup() as this:
        watcher = Watcher(this.track())
        await this.show(3)
        await this.show(3, width=320)
        assert [frame.keyframe for frame in watcher.frames] == [True, False, False, True, False, False]
        assert this.count("hime_keyframes_total", reason="resize") == 1


async def test_a_watcher_that_has_stalled_disturbs_nobody_and_comes_back_with_a_keyframe() -> None:
    async with setup() as this:
        good, stalled = Watcher(this.track()), Watcher(this.track())
        stalled.congested = True
        await this.show(60)
        assert len(good.frames) == 60 and not stalled.frames
        assert this.skipped == 60
        assert sum(frame.keyframe for frame in good.frames) == 1  # nothing was asked for while it takes nothing
        stalled.congested = False
        await this.show(5)
        assert stalled.frames[0].keyframe and stalled.frames == good.frames[61:]
        assert this.count("hime_keyframes_total", reason="overflow") == 1


async def test_the_newest_frames_win_when_encoding_is_slow() -> None:
    async with setup() as this:
        watcher = Watcher(this.track())
        await this.show()
        this.encoder.gate.clear()
        for _ in range(10):
            this.put()
            await asyncio.sleep(0.01)
        this.encoder.gate.set()
        await until(lambda: len(watcher.frames) == 4)
        assert [frame.timestamp // 3000 for frame in watcher.frames] == [0, 1, 9, 10]
        assert this.count("hime_unsent_frames_total", reason="slow_encoder") == 7


async def test_an_event_loop_that_has_fallen_behind_is_sent_no_more_than_it_can_take() -> None:
    async with setup() as this:
        watcher = Watcher(this.track())
        await this.show()
        calls: list[Callable[[], None]] = []
        later = lambda call, frame: calls.append(lambda: call(frame))  # noqa: E731
        this.stream._loop = SimpleNamespace(call_soon_threadsafe=later)
        for _ in range(40):
            this.put()
            await asyncio.sleep(0.01)
        assert len(calls) == MAX_UNDELIVERED
        for call in list(calls):
            call()
        await until(lambda: len(watcher.frames) >= MAX_UNDELIVERED)
        await until(lambda: len(calls) > MAX_UNDELIVERED)  # and the newest follows


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_failing_encoder_is_replaced_and_the_call_goes_on(failures: int) -> None:
    async with setup("H264", "h264_nvenc") as this:
        watcher = Watcher(this.track())
        await this.show(5)
        this.encoder.failing = failures
        await this.show(failures + 4)
        assert [frame.keyframe for frame in watcher.frames] == [True] + [False] * 4 + [True] + [False] * 3
        assert this.encoder.made == ["h264_nvenc"] + ["libx264"] * failures
        assert this.count("hime_unsent_frames_total", reason="error") == failures
        assert this.count("hime_keyframes_total", reason="error") == 1


async def test_a_stopped_track_gets_nothing_more() -> None:
    async with setup() as this:
        watcher = Watcher(this.track())
        await this.show(2)
        watcher.track.stop()
        await this.show(2)
        assert len(watcher.frames) == 2
        assert not this.stream.remove(watcher.track)
