"""`hime load` without a network: what is sent when, what is counted of what comes, and when a relay is full."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from server.client.load import report
from server.client.load.call import CallFigures
from server.client.load.command import LoadOptions, call_plan, ramp_plan
from server.client.load.encoded import EncodedClip, encode
from server.client.load.marker import NUMBERS, number_of, stamped
from server.client.load.metrics import RelayCounts
from server.client.load.ramp import Ramp, RampPlan
from server.client.load.replay import KEPT, Replay, SentLog
from server.client.load.sink import Sink, is_keyframe, read_number
from server.client.load.step import Step, Usage, is_held, step_of
from server.client.load.tally import Tally, count, percentile
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


# --- figures


def tally(frames: int, latency: float, watchers: int = 1) -> Tally:
    made = Tally(watchers=watchers, timed=watchers, frames=frames, expected=2 * frames, octets=1000 * frames)
    for _ in range(frames):
        count(made.latencies, latency)
    return made


def figures(number: int = 0, sent: int = 100, frames: int = 100, latency: float = 0.1) -> CallFigures:
    return CallFigures(number, Counter({10: sent}), tally(frames, latency), (0.5,))


@pytest.mark.parametrize(
    ("frames", "latency", "held"), [(100, 0.29, True), (95, 0.29, True), (94, 0.01, False), (100, 0.31, False)]
)
def test_a_call_is_held_with_its_frames_in_time(frames: int, latency: float, held: bool) -> None:
    assert is_held(figures(frames=frames, latency=latency), 0.3) is held


def test_without_latencies_frames_alone_hold_a_call() -> None:
    assert is_held(CallFigures(0, Counter({0: 100}), Tally(watchers=1, frames=96), ()), 0.3)
    assert not is_held(CallFigures(0, Counter(), Tally(), ()), 0.3)


def test_watchers_are_told_together() -> None:
    whole = Tally.together([tally(90, 0.01), tally(10, 0.5)])
    assert (whole.watchers, whole.frames) == (2, 100)
    assert whole.percentile(0.9) == pytest.approx(0.01) and whole.percentile(0.91) == pytest.approx(0.5)
    assert Tally().percentile(0.5) is None
    assert tally(1, 77.0).percentile(0.5) == pytest.approx(10.0)


def test_a_step_is_a_mean_over_calls_and_watchers() -> None:
    before, after = RelayCounts(10.0, {"enhanced": 5.0}), RelayCounts(14.0, {"enhanced": 45.0})
    step = step_of([figures(0), figures(1, frames=50)], {"503": 1}, Usage(5.0, 0.5, before, after), 0.3)
    assert (step.calls, step.held, step.watchers, step.all_held) == (2, 1, 2, False)
    assert step.sent_fps == 20.0 and step.watched_fps == 15.0 and step.came == 0.75
    assert step.p95_ms == pytest.approx(100.0) and step.kbps == pytest.approx(8 * 150 / 5 / 2)
    assert step.load_cores == 0.1 and step.relay_cores == 0.8 and step.outcomes == {"enhanced": 4.0}
    assert step.first_frame_p50_ms == 500.0 and step.load_late_ms == pytest.approx(1.0)
    unknown = step_of([], {}, Usage(5.0, 0.5, before, None), 0.3)
    assert unknown.relay_cores is None and unknown.p95_ms is None and unknown.outcomes == {}


def a_step(*calls: CallFigures, refused: dict[str, int] | None = None) -> Step:
    return step_of(calls, refused or {}, Usage(5.0, 0.5, None, None), 0.3)


def test_the_table_has_a_cell_under_each_head_and_the_summary_says_what_matters() -> None:
    step = a_step(figures(0), figures(1, frames=50), refused={"503": 2})
    assert len(report.line(step)) == len(report.heading())
    told = report.summary([step], 0.3, False, 20.0)
    assert told.startswith("held: 1 of 2 calls") and "refused: 2 × 503" in told and "itself" not in told
    assert "too slow: it sent 20.0 of 25.0 frames/s, up to 1.0 ms late" in report.summary([step], 0.3, False, 25.0)
    late = CallFigures(0, Counter({10: 90, 300: 10}), tally(100, 0.1), ())
    assert report.is_behind(a_step(late), 20.0) and not report.is_behind(step, 20.0)
    good = a_step(figures(0))
    assert report.summary([good], 0.3, True, 20.0).startswith("held: 1 or more call")
    assert report.summary([good, step], 0.3, True, 20.0).startswith("held: 1 call ")
    document = json.loads(json.dumps(report.document([good, step], {"view": "original"}, 20.0)))
    assert document["held"] == 1 and [one["all_held"] for one in document["steps"]] == [True, False]
    assert document["steps"][1]["refused"] == {"503": 2} and document["steps"][0]["load_behind"] is False


# --- the ramp


class FakeGroup:
    """Holds so many calls, and takes so many; bad: windows in which nothing is held."""

    def __init__(self, holds: int = 100, takes: int = 100, bad: Sequence[int] = ()) -> None:
        self.holds, self.takes, self.bad = holds, takes, bad
        self.calls, self.windows = 0, 0

    async def add(self, number: int) -> str:
        if self.calls >= self.takes:
            return "503"
        self.calls += 1
        return ""

    async def begin(self, window: int) -> None: ...

    async def figures(self, window: int) -> list[CallFigures]:
        self.windows += 1
        late = self.calls > self.holds or self.windows in self.bad
        return [figures(number, latency=0.5 if late else 0.1) for number in range(self.calls)]

    async def cpu_seconds(self) -> float:
        return 0.0

    async def close(self) -> None: ...


async def ramped(group: FakeGroup, plan: RampPlan, over_after: float = 1e9) -> tuple[list[Step], Ramp, list[float]]:
    clock, waited = Clock(), list[float]()

    async def wait(seconds: float) -> bool:
        waited.append(seconds)
        await asyncio.sleep(0)
        clock.now += seconds
        return clock.now - 100.0 > over_after

    async def relay() -> None:
        return None

    ramp = Ramp(plan, group, relay, wait, clock)
    return [step async for step in ramp.steps()], ramp, waited


async def test_a_plain_load_is_measured_once_with_what_came_about() -> None:
    steps, ramp, waited = await ramped(FakeGroup(takes=2), RampPlan((3,), 0.5, 2.0, 10.0, 0.3))
    assert [step.calls for step in steps] == [2] and steps[0].refused == {"503": 1} == dict(ramp.refused)
    assert waited == [0.5, 0.5, 0.5, 2.0, 10.0, 1.0]


async def test_until_full_ends_with_the_call_that_is_not_held_twice() -> None:
    group = FakeGroup(holds=3)
    steps, _, _ = await ramped(group, RampPlan(range(1, 9), 0.5, 2.0, 4.0, 0.3, until_full=True))
    assert [(step.calls, step.held) for step in steps] == [(1, 1), (2, 2), (3, 3), (4, 0)]
    assert group.windows == 5 and report.most_held(steps) == 3


async def test_until_full_forgives_one_bad_window() -> None:
    steps, _, _ = await ramped(FakeGroup(bad=(2,)), RampPlan((1, 2, 4), 0.5, 2.0, 4.0, 0.3, until_full=True))
    assert [(step.calls, step.held) for step in steps] == [(1, 1), (2, 2), (4, 4)]


async def test_until_full_ends_with_the_call_that_is_refused() -> None:
    group = FakeGroup(takes=5)
    steps, _, _ = await ramped(group, RampPlan((4, 8, 16), 0.5, 2.0, 4.0, 0.3, until_full=True))
    assert [(step.calls, dict(step.refused)) for step in steps] == [(4, {}), (5, {"503": 1})]


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 0), (5.0, 0), (8.0, 1)])
async def test_a_signal_ends_it_with_the_steps_that_are_whole(seconds: float, count: int) -> None:
    steps, _, _ = await ramped(FakeGroup(), RampPlan((1, 2), 0.5, 2.0, 4.0, 0.3), over_after=seconds)
    assert len(steps) == count


# --- what is asked for


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"view": "compare"}, "--view compare: give enhanced or original"),
        ({"codec": "AV1"}, "--codec AV1"),
        ({"size": "640"}, "--size 640"),
        ({"size": "641x360"}, "even numbers"),
        ({"kbps": 1}, "--kbps 1"),
        ({"width": 9999}, "--width 9999"),
        ({"steps": "1,3,2"}, "--steps 1,3,2"),
        ({"steps": "two"}, "--steps two"),
        ({"steps": "1,2", "calls": 2}, "--steps and --calls"),
        ({"clip": Path("/nowhere.mp4")}, "/nowhere.mp4"),
        ({"key": "secret alone"}, "--key"),
        ({"whip": "whip"}, "--whip whip"),
        ({"url": "ftp://h"}, "ftp://h"),
        ({"room": "a b"}, "--room"),
        ({"token": "a.b.c"}, "JWT"),
    ],
)
def test_bad_input_is_said_in_one_line(path: Path, changes: dict[str, Any], says: str) -> None:
    options = LoadOptions(**{"url": "http://h", "clip": path, **changes})
    with pytest.raises(InputError) as raised:
        call_plan(options, ramp_plan(options).steps[-1])
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.fixture
def token() -> Iterator[Callable[[str, str], str]]:
    import jwt

    yield lambda room, name: jwt.encode({"sub": name, "video": {"room": room}}, "nobody checks this" * 3, "HS256")


def test_a_room_token_is_for_one_call_under_its_names(path: Path, token: Callable[[str, str], str]) -> None:
    options = LoadOptions(url=f"http://h/#token={token('r', 'ann')}", clip=path)
    link = call_plan(options, 1).link(0)
    assert (link.room, link.name) == ("r", "ann") and link.token
    with pytest.raises(InputError, match="--calls 1, or --key"):
        call_plan(options, 2)


def test_rooms_are_the_calls_own_unless_they_are_together(path: Path) -> None:
    apart = call_plan(LoadOptions(url="http://h", clip=path), 2)
    assert [(apart.link(n).room, apart.link(n).name) for n in (0, 1)] == [("load-0", "load-0"), ("load-1", "load-1")]
    together = call_plan(LoadOptions(url="http://h", clip=path, room="r", together=True, token="opaque"), 2)
    assert [(together.link(n).room, together.link(n).name) for n in (0, 1)] == [("r", "load-0"), ("r", "load-1")]
    assert together.link(1).headers == {"Authorization": "Bearer opaque"} and "opaque" not in repr(together)
    assert ramp_plan(LoadOptions(url="", clip=path, until_full=True, calls=3)).steps == range(1, 4)
    assert ramp_plan(LoadOptions(url="", clip=path)).steps == (1,)


def test_the_document_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    (step,) = report.document([a_step(figures())], {}, 20.0)["steps"]
    assert [name for name in step if f"`{name}`" not in text] == []
