"""Faces of the size that calls have, ruined by the codec: real encoders, the detector, the bank and the network."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.compositing.render import Renderer
from hime_core.engine import BatchingEngine, build_engine
from hime_core.evaluation.metrics import psnr
from hime_core.faces.detector import ScanningDetector
from hime_core.faces.geometry import Headshot
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhanced, Enhancer, EnhancerConfig
from hime_core.video.coding import CodingDecoder
from hime_core.video.picture import Picture
from server.media.send.bitrate import Bitrates
from server.media.send.encoder import VideoEncoder
from server.proof.call import call
from server.proof.plan import Timing
from server.proof.scene import Clip, Geometry, cut, moved, stage
from server.proof.stream import encode
from tests.media.test_enhanced_call import relay_of

FPS = 15
HEADSHOT = (224.5, 122.0, 200.0)  # the astronaut's: centre and side


@dataclass(frozen=True)
class Shown:
    """The astronaut in a frame, swaying a little."""

    width: int
    height: int
    side: float

    def place(self, number: int) -> Headshot:
        x, y = self.width / 2 + 9 * math.sin(number / 7), self.height / 2 + 4 * math.sin(number / 5)
        return Headshot(x, y, self.side)

    def rgb(self, number: int, scale: float = 1.0) -> np.ndarray:
        """uint8, `scale` times as large as the frame."""
        at, zoom = self.place(number), scale * self.side / HEADSHOT[2]
        turn = cv2.getRotationMatrix2D(HEADSHOT[:2], 3 * math.sin(number / 9), zoom)
        turn[:, 2] += (scale * (at.cx + 0.5) - 0.5 - HEADSHOT[0], scale * (at.cy + 0.5) - 0.5 - HEADSHOT[1])
        size = round(self.width * scale), round(self.height * scale)
        method = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
        return cv2.warpAffine(data.astronaut(), turn, size, flags=method, borderValue=(96, 104, 112))


def received(shown: Shown, rates: Sequence[int]) -> Iterator[tuple[Picture, object]]:
    """Each frame as it arrives, sent at its own bitrate in bit/s through VP8, and how it was coded."""
    encoder = VideoEncoder("libvpx", shown.width, shown.height, Bitrates(20_000, max(rates), max(rates)))
    decoder = CodingDecoder(av.CodecContext.create("vp8", "r"))
    for number, rate in enumerate(rates):
        frame = Picture.from_rgb(shown.rgb(number)).to_frame()
        frame.pts, frame.time_base = number * 90000 // FPS, Fraction(1, 90000)
        if (packet := encoder.encode(frame, rate, keyframe=number == 0)) is not None:
            for decoded, coding in decoder.decode(packet):
                yield Picture.from_frame(decoded), coding


class Stream:
    """One stream's enhancer, fed by hand; everything is waited for."""

    def __init__(self, engine: BatchingEngine, references: int = 3) -> None:
        self.now = 0.0
        self.people = People(engine.forget, clock=lambda: self.now)
        config = EnhancerConfig(patience=None, references=references)
        self.enhancer = Enhancer(engine, ScanningDetector(), self.people, config, clock=lambda: self.now)

    def play(self, shown: Shown, rates: Sequence[int]) -> list[Enhanced]:
        found = []
        for picture, coding in received(shown, rates):
            self.now += 1 / FPS
            found.append(self.enhancer.finish(self.enhancer.begin(picture, self.now, coding=coding)))
        return found


@pytest.fixture(scope="module")
def engine() -> Iterator[BatchingEngine]:
    engine = build_engine("tiny-x4-call", "cpu")
    yield engine
    engine.close()


def outcomes(results: Sequence[Enhanced]) -> set[str]:
    return {result.outcome for result in results}


@pytest.mark.timeout(300)
async def test_a_call_at_60_kbit_s_comes_out_nearer_to_the_truth(tmp_path: Path) -> None:
    """640x360, a headshot of 160 px: the enhanced view against the plain one, through the same relay and encoder."""
    shown = Shown(640, 360, 160.0)
    frames = [shown.rgb(number, 200 / 160) for number in range(90)]
    faces = {number: moved(shown.place(number), 200 / 160) for number in range(45, 90)}
    clip = Clip("astronaut", frames, FPS, 45, faces)
    # At half the speed: what is shown here is the picture, not the pace of a busy machine.
    timing = Timing(fps=FPS, good=3.0, settle=1.0, measured=2.0, speed=0.5)
    scene = stage(clip, Geometry(640, 360, 160 / 200), timing)
    stream = encode(scene, "VP8", 60, timing)
    async with relay_of(tmp_path, deadline_ms=300) as (_, http):
        url = str(http.base_url)
        watched = await asyncio.to_thread(call, url, scene, stream, "VP8", ("original", "enhanced"), "upscale")
    assert watched.bank >= 1
    assert watched.outcomes["enhanced"] >= 8, watched
    plain, better = watched.faces["original"], watched.faces["enhanced"]
    common = sorted(set(plain) & set(better))
    gains = [
        psnr(better[n].now, truth) - psnr(plain[n].now, truth)
        for n in common
        if (face := scene.face(n)) is not None
        for truth in [scene.truth(n, face)]
    ]
    print(f"{stream.kbps:.0f} kbit/s, {len(gains)} frames, {np.mean(gains):+.2f} dB, {watched.outcomes}")
    assert len(gains) >= 8
    assert np.mean(gains) > 0.4


def test_a_clear_face_in_720p_is_left_alone(engine) -> None:
    """To the last bit: the enhanced view is the original one."""
    stream, shown = Stream(engine), Shown(1280, 720, 260.0)
    found = stream.play(shown, [3_000_000] * 20)
    assert outcomes(found) == {"passed"} and found[-1].bypasses == ("close",)
    assert stream.people.exemplars()
    for result in found[-3:]:
        views = [Renderer(view, "upscale").render(result) for view in ("original", "enhanced")]
        for plane in ("y", "u", "v"):
            assert np.array_equal(*(getattr(view, plane) for view in views))


def test_a_call_that_starts_poor_recovers_and_has_learned_when_it_gets_poor_again(engine) -> None:
    stream, shown = Stream(engine), Shown(640, 360, 160.0)
    found = stream.play(shown, [60_000] * 40 + [1_500_000] * 110 + [60_000] * 40)
    poor, good, again = found[:40], found[40:150], found[-30:]
    assert outcomes(poor[10:]) == {"passed"}  # there is nothing better to go by
    assert good[-1].outcome == "passed" and good[-1].patches == ()
    assert all(e.step is not None and e.step < 20 for e in stream.people.exemplars())
    assert [r.outcome for r in again].count("enhanced") > 20


def test_detail_comes_and_goes_without_a_jump(engine) -> None:
    """From frame to frame, what is added changes by no more than the fade allows."""
    stream, shown = Stream(engine), Shown(640, 360, 160.0)
    found = stream.play(shown, [1_500_000] * 40 + [60_000] * 25 + [1_500_000] * 30)
    added = [max((float(np.abs(p.difference).mean()) for p in r.patches), default=0.0) for r in found]
    assert max(added) > 0.3 and added[-1] == 0.0
    assert max(np.abs(np.diff(added))) < 0.5 * max(added)


def test_a_face_without_exemplars_passes(engine) -> None:
    stream, shown = Stream(engine, references=0), Shown(640, 360, 160.0)
    found = stream.play(shown, [60_000] * 25)
    assert outcomes(found) == {"passed"}
    assert found[-1].bypasses == ("no_exemplar",) and found[-1].patches == ()


def test_the_enhanced_face_is_nearer_to_the_truth_at_every_size(engine) -> None:
    for side in (110.0, 220.0):
        stream, shown = Stream(engine), Shown(640, 360, side)
        found = stream.play(shown, [1_500_000] * 45 + [60_000] * 30)
        gains = []
        for number, result in list(enumerate(found))[-8:]:
            head = shown.place(number)
            truth = cut(shown.rgb(number, 200 / side), moved(head, 200 / side))
            views = {v: Renderer(v, "upscale").render(result) for v in ("original", "enhanced")}
            scale = views["original"].width / shown.width
            plain, better = (cut(view.rgb(), moved(head, scale)) for view in views.values())
            gains.append(psnr(better, truth) - psnr(plain, truth))
        assert np.mean(gains) > 0.3, (side, gains)
