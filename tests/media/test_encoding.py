"""Encoding through a whole relay: who is encoded for, how often, and in which codec."""

from __future__ import annotations

import pytest

from benchmarks.shared.peers import MovingVideo, Relay, serving, until


def encodes(relay: Relay) -> float:
    return relay.total("hime_stage_duration_seconds_count", stage="encode")


async def test_only_watched_views_are_encoded_and_each_once() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        pipeline = relay.rooms.get("r").participants["ann"].video
        await until(lambda: pipeline.frames > 10)
        assert encodes(relay) == 0
        peers = [await relay.peer().watch("/whep/r/ann?layout=native", ("video",)) for _ in range(3)]
        await until(lambda: all(len(peer.frames) > 5 for peer in peers))
        frames, encoded = pipeline.frames, encodes(relay)
        await until(lambda: pipeline.frames >= frames + 30)
        assert encodes(relay) - encoded <= pipeline.frames - frames + 2
        assert relay.total("hime_keyframes_total") < 8
        for peer in peers:
            await peer.leave()
        await until(lambda: not pipeline.views.watched)
        frames, encoded = pipeline.frames, encodes(relay)
        await until(lambda: pipeline.frames >= frames + 10)
        assert encodes(relay) <= encoded + 1
        assert pipeline.latency is None


async def test_watchers_of_two_codecs_get_an_encoding_each() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        vp8 = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        h264 = await relay.peer().watch("/whep/r/ann?layout=native", ("video",), codec="video/H264")
        await until(lambda: len(vp8.frames) > 20 and len(h264.frames) > 20)
        pipeline = relay.rooms.get("r").participants["ann"].video
        ((key, watched),) = pipeline.views.watched.items()
        assert key == ("enhanced", "native", None) and set(watched.streams) == {"VP8", "H264"}
        for peer in (vp8, h264):  # what they decode are the frames that were sent, in order
            numbers = [shown.number for shown in peer.frames]
            assert numbers == sorted(numbers) and numbers[-1] - numbers[0] < 3 * len(numbers)
        await vp8.leave()
        await until(lambda: set(watched.streams) == {"H264"})


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_a_lone_watcher_gets_its_codec(codec: str) -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",), codec=codec)
        await until(lambda: len(watcher.frames) > 10)
        assert watcher.frames[-1].size == (1280, 720)
        assert relay.total("hime_keyframes_total", reason="start") == 1
