"""Pictures that are too large, change their size too often or come too fast are left out before they cost anything."""

from __future__ import annotations

import threading

import av
import pytest

from server.media.receive.decode import Decoder, make_decoder
from server.media.receive.gate import FrameGate, FrameRules
from server.media.receive.jitter import ReceivedData
from server.media.receive.refusals import Refusals
from tests.unit.enhancer_stage import Clock
from tests.unit.test_announced import h264, sps, vp8
from tests.unit.test_receiver import Sink

RULES = FrameRules(pixels=320 * 240, rate=30, size_changes=1)


def gate(clock: Clock | None = None, **rules: float) -> FrameGate:
    return FrameGate(FrameRules(**{"pixels": 320 * 240, "rate": 30, "size_changes": 1} | rules), clock or Clock())


class Paced:
    """In the place of a decoder's queue: frames that come `step` seconds apart."""

    def __init__(self, frames: list[tuple[str, bytes]], clock: Clock, step: float) -> None:
        self._frames, self._clock, self._step = iter(frames), clock, step

    def get(self) -> tuple[str, ReceivedData] | None:
        self._clock.now += self._step
        codec, data = next(self._frames, ("", b""))
        return (codec, ReceivedData(data, round(90000 * self._clock.now), self._clock(), 96, 1, 0)) if codec else None


def decoded(frames: list[tuple[str, bytes]], clock: Clock, rules: FrameRules = RULES, step: float = 0.05) -> Sink:
    """What the decoder makes of them."""
    sink, failures = Sink(), []
    decoder = Decoder(sink, lambda: None, lambda: failures.append(1), clock, rules)
    decoder._queue = Paced(frames, clock, step)
    decoder.run()
    sink.failures = len(failures)
    return sink


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_pictures_that_are_too_large_are_not_decoded_until_smaller_ones_come(codec: str) -> None:
    make = vp8 if codec == "VP8" else h264
    frames = [*make(320, 240, 2), *make(640, 480, 3), *make(160, 120, 2)]
    sink = decoded([(codec, data) for data in frames], Clock())
    assert [(frame.width, frame.height) for frame, _ in sink.frames] == [(320, 240)] * 2 + [(160, 120)] * 2
    assert sink.left_out == ["pixels"] * 3 and sink.failures == 0  # nor is a keyframe asked for: it would be as large


def test_a_parameter_set_of_a_large_picture_does_not_reach_the_decoder() -> None:
    small = h264(160, 128, 1)[0]
    sink = decoded([("H264", small), ("H264", small + sps(16384, 16384)), ("H264", small)], Clock())
    assert sink.left_out == ["pixels"] and len(sink.frames) == 2


@pytest.mark.parametrize(("codec", "make"), [("VP8", vp8), ("H264", h264)])
def test_a_size_that_was_not_read_is_refused_by_the_decoder(codec, make) -> None:
    decoder = make_decoder(codec, 320 * 240)
    with pytest.raises(av.FFmpegError):
        decoder.decode(av.Packet(make(1920, 1088)[0]))


def test_sizes_may_change_but_not_all_the_time() -> None:
    clock, one = Clock(), gate()
    one = FrameGate(RULES, clock)
    small, large = vp8(160, 120)[0], vp8(320, 240)[0]
    assert [one.refuses("VP8", data) for data in (small, large, small)] == ["", "", "size_changes"]
    inter = vp8(160, 120, 2)[1]
    assert one.refuses("VP8", inter) == "size_changes"  # it belongs to the size that was refused
    assert one.refuses("VP8", large) == ""  # which the decoder has
    clock.now += 1.0
    assert one.refuses("VP8", small) == "" and one.refuses("VP8", large) == "size_changes"
    for _ in range(10):
        clock.now += 1.0
        assert one.refuses("VP8", small) == ""
        clock.now += 1.0
        assert one.refuses("VP8", large) == ""


def test_another_codec_is_a_change_too() -> None:
    clock = Clock()
    one, frames = FrameGate(RULES, clock), {"VP8": vp8(160, 120)[0], "H264": h264(160, 120)[0]}
    refused = [one.refuses(codec, frames[codec]) for codec in ("VP8", "H264", "VP8", "H264", "VP8")]
    assert refused == ["", "", "size_changes", "", "size_changes"]


def test_a_refused_change_asks_for_a_keyframe() -> None:
    frames = [("VP8", vp8(width, 120)[0]) for width in (160, 176, 192, 208)]
    assert decoded(frames, Clock()).failures == 2


def test_what_comes_too_fast_is_left_out_after_decoding_and_before_conversion() -> None:
    """50 a second where 30 are allowed: after a burst, three of five go on, the newest each time."""
    frames = [("VP8", data) for data in vp8(160, 120, 250)]
    sink = decoded(frames, Clock(), step=0.02)
    assert set(sink.left_out) == {"frame_rate"} and sink.failures == 0
    assert len(sink.frames) + len(sink.left_out) == 250
    assert 0.58 * 250 < len(sink.frames) < 0.68 * 250


def test_what_comes_far_too_fast_is_not_decoded_either() -> None:
    frames = [("VP8", data) for data in vp8(160, 120, 300)]
    sink = decoded(frames, Clock(), step=0.001)
    stages = [name for name, _ in sink.stages if name == "decode"]
    assert 30 <= len(stages) <= 50
    assert sink.failures > 200  # a keyframe is asked for, with which it would go on
    keyframe = ("VP8", frames[0][1])
    again = decoded([*frames, keyframe, *frames[1:5]], Clock(), step=0.001)
    assert len(again.frames) > len(sink.frames)


def test_a_burst_of_what_was_held_up_goes_through() -> None:
    sink = decoded([("VP8", data) for data in vp8(160, 120, 14)], Clock(), step=0.0)
    assert len(sink.frames) == 14 and not sink.left_out


@pytest.mark.parametrize("fps", [15, 25, 30])
def test_an_ordinary_stream_loses_nothing(fps: int) -> None:
    sink = decoded([("VP8", data) for data in vp8(160, 120, 200)], Clock(), step=1 / fps)
    assert len(sink.frames) == 200 and not sink.left_out and sink.failures == 0


def test_refusals_tell_what_is_so_now() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    assert refusals.now is None and refusals.alone == 0
    refusals.add("pixels")
    clock.now += 1.5
    assert refusals.now == "pixels" and refusals.alone == 1.5
    refusals.passed()
    assert refusals.alone == 0
    clock.now += 1.0
    assert refusals.now is None


def test_the_gate_is_made_for_one_thread_and_the_sink_is_told_in_it() -> None:
    told: list[str] = []

    class Here(Sink):
        def refused(self, reason: str) -> None:
            told.append(threading.current_thread().name)

    decoder = Decoder(Here(), lambda: None, lambda: None, Clock(), RULES)
    decoder.start()
    decoder.put("VP8", ReceivedData(vp8(640, 480)[0], 0, 100.0, 96, 1, 0))
    decoder._queue.put(None)
    decoder._thread.join(10)
    assert told == ["video-decode"]
