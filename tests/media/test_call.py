"""A call through the relay, aiortc to aiortc on loopback."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks.shared.peers import FakeEnhancer, FakeJob, MovingVideo, Tone, serving, until
from hime_core.compositing.render import Placed, Renderer
from hime_core.stream.enhancer import Enhanced
from server.media.send.tracks import SOUND_LEAD


async def test_frames_and_audio_reach_a_watcher() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann")
        await until(lambda: len(watcher.frames) > 30 and len(watcher.audio) > 50)
        assert watcher.frames[-1].size == (1280, 720)
        assert all(a.pts < b.pts for a, b in pairwise(watcher.frames))
        numbers = [shown.number for shown in watcher.frames]
        assert all(a < b for a, b in pairwise(numbers))
        sound = np.concatenate([frame.to_ndarray().reshape(-1, 2)[:, 0] for frame in watcher.audio[10:]])
        assert np.abs(sound).mean() > 1000
        spectrum = np.abs(np.fft.rfft(sound))
        assert abs(spectrum.argmax() * 48000 / len(sound) - 440) < 5


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_frames_come_with_what_their_bitstream_says_of_their_coding(codec: str) -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(), codec=codec)
        enhancer = relay.enhancers[0]
        await until(lambda: len(enhancer.codings) > 10)
        codings = enhancer.codings[:]
        assert all(codings) and not codings[-1].keyframe
        # The first frame is one, but may have been left out for a newer one: another is asked for until one comes.
        (receiver,) = relay.rooms.get("r").participants["ann"].session._receivers
        while not any(one.keyframe for one in enhancer.codings):
            receiver._await_keyframe("decoder")
            await asyncio.sleep(0.5)
        assert all(0.6 < one.step < 227 and one.macroblocks == 20 * 12 for one in codings)
        assert len({one.bytes for one in codings}) > 5
        assert relay.total("hime_quantizer_step_count") >= len(codings)


async def test_timestamps_are_the_publishers() -> None:
    async with serving() as relay:
        video = MovingVideo(fps=20)
        await relay.peer().publish("/whip/r/ann", video)
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: len(watcher.frames) > 20)
        first, last = watcher.frames[0], watcher.frames[-1]
        assert last.pts - first.pts == (last.number - first.number) * 90000 // 20


async def test_layouts_have_their_sizes_and_watchers_share_a_rendering() -> None:
    rendered = []
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        big = await relay.peer().watch("/whep/r/ann?view=original&layout=upscale", ("video",))
        twin = await relay.peer().watch("/whep/r/ann?view=original&layout=upscale", ("video",))
        small = await relay.peer().watch("/whep/r/ann?view=original&layout=native", ("video",))
        pipeline = relay.rooms.get("r").participants["ann"].video
        await until(lambda: len(pipeline.views.watched) == 2)
        render = pipeline.views._plain
        pipeline.views._plain = lambda *args: rendered.append(1) or render(*args)
        start = pipeline.frames
        await until(lambda: all(len(peer.frames) > 20 for peer in (big, twin, small)))
        assert len(rendered) <= 2 * (pipeline.frames - start + 2)
        assert {big.frames[-1].size, twin.frames[-1].size} == {(1280, 720)}
        assert small.frames[-1].size == (320, 180)
        await small.leave()
        await until(lambda: len(pipeline.views.watched) == 1)


async def test_a_watcher_gets_the_picture_as_large_as_it_shows_it() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(640, 360))
        asked = {1920: (1920, 1080), 5000: (1920, 1080), 1000: (1280, 720), 640: (640, 360), 200: (640, 360)}
        peers = {width: await relay.peer().watch(f"/whep/r/ann?width={width}", ("video",)) for width in asked}
        usual = await relay.peer().watch("/whep/r/ann", ("video",))
        for width, peer in peers.items():
            await until(lambda peer=peer: len(peer.frames) > 5)
            assert peer.frames[-1].size == asked[width]
        await until(lambda: len(usual.frames) > 5)
        views = relay.rooms.get("r").participants["ann"].video.views
        # Six watchers, three sizes, three encoders; whoever is last takes the encoder's thread along.
        assert {width for _, _, width in views.watched} == {640, 1280, 1920}
        encoders = [stream for watched in views.watched.values() for stream in watched.streams.values()]
        assert len(encoders) == 3 and all(encoder.alive for encoder in encoders)
        for peer in (*peers.values(), usual):
            await peer.leave()
        await until(lambda: not views.watched and not views.tracks)
        await until(lambda: not any(encoder.alive for encoder in encoders))


async def test_frames_that_no_small_width_enlarges_are_encoded_once() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(1280, 720, fps=10))
        views = relay.rooms.get("r").participants["ann"].video.views
        await until(lambda: views.frame_size == (1280, 720))
        paths = [f"/whep/r/ann?view=original&width={width}" for width in (640, 960, 1280)]
        peers = [await relay.peer().watch(path, ("video",)) for path in paths]
        await until(lambda: all(len(peer.frames) > 3 for peer in peers))
        assert set(views.watched) == {("original", "upscale", 1280)}
        assert {peer.frames[-1].size for peer in peers} == {(1280, 720)}


async def test_a_zoom_is_as_large_as_it_is_shown() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        wide = await relay.peer().watch("/whep/r/ann?layout=zoom&width=1280", ("video",))
        plain = await relay.peer().watch("/whep/r/ann?layout=zoom", ("video",))
        await until(lambda: len(wide.frames) > 5 and len(plain.frames) > 5)
        assert (wide.frames[-1].size, plain.frames[-1].size) == ((1280, 720), (320, 180))


async def test_a_change_of_resolution_does_not_end_the_stream() -> None:
    async with serving() as relay:
        video = MovingVideo(320, 180)
        await relay.peer().publish("/whip/r/ann", video)
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 10)
        video.width, video.height = 480, 270
        await until(lambda: watcher.frames[-1].size == (480, 270))
        await until(lambda: relay.enhancers[0].sizes[-1] == (480, 270))


async def test_audio_alone_and_video_alone() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/voice", Tone())
        await relay.peer().publish("/whip/r/mute", MovingVideo())
        listener = await relay.peer().watch("/whep/r/voice")
        viewer = await relay.peer().watch("/whep/r/mute")
        await until(lambda: len(listener.audio) > 30 and len(viewer.frames) > 10)
        assert not listener.frames and not viewer.audio
        assert set(await relay.stats()) == {"voice", "mute"}


async def test_every_received_frame_has_one_outcome() -> None:
    async with serving(lambda: FakeEnhancer(begin_seconds=0.07)) as relay:  # too slow for every frame
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        pipeline = relay.rooms.get("r").participants["ann"].video
        await until(lambda: len(watcher.frames) > 30)
        stats = await relay.stats()
        assert set(stats["ann"]) == {"fps_in", "fps_out", "state", "outcomes", "latency_ms"}
        assert stats["ann"]["fps_in"] > stats["ann"]["fps_out"] > 5 and stats["ann"]["state"] == "live"
        assert stats["ann"]["latency_ms"] > 70
        await publisher.leave()
        await until(lambda: relay.enhancers[0].closed)
        decoded = relay.total("hime_stage_duration_seconds_count", stage="decode")
        assert relay.total("hime_frames_total") == decoded == sum(pipeline.outcomes.values())
        assert relay.total("hime_frames_total", outcome="enhanced") == len(relay.enhancers[0].sizes)
        assert relay.total("hime_frames_total", outcome="dropped") > 5
        assert relay.total("hime_demand_frames_total", level="references_3") == len(relay.enhancers[0].sizes)
        for stage in ("receive", "composite", "encode"):
            assert relay.total("hime_stage_duration_seconds_count", stage=stage) > 0, stage
        assert relay.total("hime_frame_latency_seconds_count") >= len(watcher.frames)
        assert relay.total("hime_keyframes_total", reason="start") == 1


async def test_audio_is_held_back_as_long_as_video_takes_but_for_what_it_may_lead() -> None:
    async with serving(lambda: FakeEnhancer(finish_seconds=0.15)) as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(fps=5), Tone())
        watcher = await relay.peer().watch("/whep/r/ann")
        await until(lambda: len(watcher.frames) > 10 and len(watcher.audio) > 20)
        participant = relay.rooms.get("r").participants["ann"]
        latency = participant.video.latency
        assert latency > 0.15
        (video,), (audio,) = participant.video.views.tracks, participant.audio._tracks
        assert audio._delay() == video.audio_delay() == min(latency - SOUND_LEAD, 0.25)


async def test_the_frame_is_enlarged_while_the_engine_works() -> None:
    order = []

    class Ordered(FakeEnhancer):
        def finish(self, job: FakeJob) -> Enhanced:
            order.append("answer")
            return super().finish(job)

    class Placing(Renderer):
        def place(self, *args: Any) -> Placed:
            order.append("place")
            return super().place(*args)

    async with serving(Ordered) as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        relay.rooms.get("r").participants["ann"].video.views.renderer = Placing
        watcher = await relay.peer().watch("/whep/r/ann?view=enhanced", ("video",))
        await until(lambda: len(watcher.frames) > 10)
    first = order.index("place")
    assert order[first : first + 10] == ["place", "answer"] * 5
