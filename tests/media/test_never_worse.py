"""Whatever happens to the enhancement, frames go on, and they stay young."""

from __future__ import annotations

import time

import av
import pytest

from benchmarks.shared.peers import FakeEnhancer, MovingVideo, Peer, Relay, serving, until
from hime_core.compositing.layout import Layout, View
from hime_core.compositing.render import Renderer


async def watched(relay: Relay, video: MovingVideo, frames: int) -> Peer:
    await relay.peer().publish("/whip/r/ann", video)
    watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
    await until(lambda: len(watcher.frames) >= frames, what=f"{frames} frames")
    return watcher


async def test_slowness_in_the_first_half_keeps_frames_young() -> None:
    await stays_young(FakeEnhancer(begin_seconds=0.2))


async def test_slowness_in_the_second_half_keeps_frames_young() -> None:
    await stays_young(FakeEnhancer(finish_seconds=0.2))


async def test_an_original_view_does_not_wait_for_the_engine() -> None:
    enhancer = FakeEnhancer()
    async with serving(lambda: enhancer) as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo(fps=20))
        watcher = await relay.peer().watch("/whep/r/ann?view=original&layout=native", ("video",))
        await until(lambda: len(watcher.frames) >= 10)
        before = await latency_of_the_next(relay, watcher, 20)
        enhancer.finish_seconds = 0.5
        after = await latency_of_the_next(relay, watcher, 10)
        # The frame's own half second is not in it; the wait until the one before has left may be, newest frame first.
        assert after < before + 0.25


async def stays_young(enhancer: FakeEnhancer) -> None:
    slowness = enhancer.begin_seconds, enhancer.finish_seconds
    enhancer.begin_seconds = enhancer.finish_seconds = 0.0
    async with serving(lambda: enhancer) as relay:
        watcher = await watched(relay, MovingVideo(fps=20), 10)
        before = await latency_of_the_next(relay, watcher, 20)
        enhancer.begin_seconds, enhancer.finish_seconds = slowness
        await latency_of_the_next(relay, watcher, 20)
        after = await latency_of_the_next(relay, watcher, 5)
        # 200 ms of the enhancer, and as much for the frame before; a queue would have grown to 3 s by now.
        assert after < before + 0.4 + 0.4
        assert relay.total("hime_frames_total", outcome="dropped") > 25


async def latency_of_the_next(relay: Relay, watcher: Peer, frames: int) -> float:
    """Mean seconds from a frame's last packet to its encoded packets; the watcher's own buffer is left out of it."""
    shown, total, count = len(watcher.frames), *latencies(relay)
    await until(lambda: len(watcher.frames) >= shown + frames)
    new_total, new_count = latencies(relay)
    return (new_total - total) / (new_count - count)


def latencies(relay: Relay) -> tuple[float, float]:
    return relay.total("hime_frame_latency_seconds_sum"), relay.total("hime_frame_latency_seconds_count")


@pytest.mark.parametrize("where", ["begin", "finish"])
async def test_a_failing_enhancer_lets_frames_pass_and_comes_back(where: str) -> None:
    enhancer = FakeEnhancer(raises={where})
    async with serving(lambda: enhancer) as relay:
        watcher = await watched(relay, MovingVideo(), 20)
        passed = relay.total("hime_frames_total", outcome="passed")
        assert passed >= 20
        assert relay.total("hime_frames_total", outcome="enhanced") == 0
        assert relay.total("hime_bypass_total", reason="error") >= passed
        enhancer.raises.clear()
        shown = len(watcher.frames)
        await until(lambda: relay.total("hime_frames_total", outcome="enhanced") > 5 and len(watcher.frames) > shown)


@pytest.mark.parametrize("half", ["place", "add"])
async def test_a_failing_renderer_shows_the_frame_as_it_came(half: str) -> None:
    async with serving() as relay:
        video = MovingVideo()
        await relay.peer().publish("/whip/r/ann", video)
        pipeline = relay.rooms.get("r").participants["ann"].video

        def failing(*args: object) -> None:
            raise RuntimeError("on purpose")

        def make(view: View, layout: Layout, width: int | None) -> Renderer:
            renderer = Renderer(view, layout, width)
            setattr(renderer, half, failing)
            return renderer

        pipeline.views.renderer = make
        watcher = await relay.peer().watch("/whep/r/ann?layout=upscale", ("video",))
        await until(lambda: len(watcher.frames) > 10)
        # Where frames cannot even be enlarged they keep their size; where only patches fail, they are enlarged plainly.
        assert watcher.frames[-1].size == ((320, 180) if half == "place" else (1280, 720))
        assert relay.total("hime_bypass_total", reason="error") > 10


async def test_a_slow_stream_does_not_hold_up_another() -> None:
    made = [FakeEnhancer(begin_seconds=0.3), FakeEnhancer()]
    async with serving(lambda: made.pop(0)) as relay:
        await relay.peer().publish("/whip/r/slow", MovingVideo())
        await relay.peer().publish("/whip/r/quick", MovingVideo())
        slow = await relay.peer().watch("/whep/r/slow?layout=native", ("video",))
        quick = await relay.peer().watch("/whep/r/quick?layout=native", ("video",))
        await until(lambda: len(slow.frames) > 3 and len(quick.frames) > 40)
        assert len(quick.frames) > 2 * len(slow.frames)


async def test_a_frame_that_cannot_be_shown_does_not_end_the_stream() -> None:
    async with serving() as relay:
        watcher = await watched(relay, MovingVideo(), 5)
        pipeline = relay.rooms.get("r").participants["ann"].video
        pipeline.receive(av.VideoFrame(1, 1, "yuv420p"), time.monotonic())
        hand_out, failures = pipeline.views._hand_out, iter([True, True])

        def failing(*arguments: object) -> None:
            if next(failures, False):
                raise RuntimeError("on purpose")
            hand_out(*arguments)

        pipeline.views._hand_out = failing
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 10)
        assert relay.total("hime_frames_total", outcome="dropped") >= 3
