"""A publisher on a bad network. Each scenario that the relay mends is also run against aiortc's own receiver.

Short versions; `python -m benchmarks.calls.impairments` has the long ones and prints figures. Latencies are
compared with those of the same run before the network became bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import pytest

from benchmarks.shared.forwarder import Forwarder, Path, forwarding
from benchmarks.shared.impaired import ImpairedPeer, PlainReceiver
from benchmarks.shared.peers import MovingVideo, Peer, Relay, Shown, serving, until

# One packet a frame, with which aiortc never makes up for a packet that was held.
SMALL = {"width": 96, "height": 54}


@asynccontextmanager
async def call(**video: int) -> AsyncIterator[tuple[Relay, ImpairedPeer, Peer, MovingVideo]]:
    async with forwarding(seed=3) as forwarder, serving() as relay:
        source = MovingVideo(**video)
        publisher = ImpairedPeer(relay.http, forwarder)
        relay.peers.append(publisher)
        await publisher.publish("/whip/r/ann", source)
        watcher = await relay.peer().watch("/whep/r/ann?view=original&layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 30, what="30 frames")
        yield relay, publisher, watcher, source


@asynccontextmanager
async def plain(**video: int) -> AsyncIterator[tuple[PlainReceiver, MovingVideo]]:
    async with forwarding(seed=3) as forwarder:
        source = MovingVideo(**video)
        receiver = await PlainReceiver(forwarder).connect(source)
        await until(lambda: len(receiver.frames) > 30, what="30 frames")
        yield receiver, source
        await receiver.close()


def age(video: MovingVideo, frames: list[Shown], last: int = 10) -> float:
    """Median seconds from the encoder to the reader, of the last frames."""
    return median(shown.time - video.sent[shown.number] for shown in frames[-last:])


async def young_again(video: MovingVideo, watcher: Peer, before: float, seconds: float = 15) -> None:
    """Waits until frames are as young as before, but for what a busy machine adds to half of them."""
    shown = len(watcher.frames)
    await until(lambda: len(watcher.frames) > shown + 15)
    await until(lambda: age(video, watcher.frames) < before + 0.15, seconds, "the latency of before")


def hold(forwarder: Forwarder, peer: ImpairedPeer | PlainReceiver, seconds: float = 0.5) -> None:
    """Holds the next packet of the picture, and loses what is sent to repair it."""
    forwarder.up.refused = peer.repairs
    forwarder.up.hold_next(seconds, peer.video)


async def test_after_a_held_packet_frames_are_as_young_as_before() -> None:
    async with call(**SMALL) as (relay, publisher, watcher, video):
        before = age(video, watcher.frames, 20)
        hold(publisher.forwarder, publisher)
        await until(lambda: publisher.forwarder.up.counts["held"])
        await young_again(video, watcher, before)
        assert relay.total("hime_missing_packets_total") > 0


async def test_aiortc_stays_late_after_a_held_packet() -> None:
    async with plain(**SMALL) as (receiver, video):
        before = age(video, receiver.frames, 20)
        hold(receiver.forwarder, receiver)
        await until(lambda: receiver.forwarder.up.counts["held"])
        await asyncio.sleep(1)
        shown = len(receiver.frames)
        await until(lambda: len(receiver.frames) >= shown + 15)
        assert age(video, receiver.frames, 15) > before + 0.3


async def test_a_packet_that_never_comes_costs_a_moment_and_a_keyframe() -> None:
    async with call(**SMALL) as (relay, publisher, watcher, video):
        hold(publisher.forwarder, publisher, seconds=60)
        await until(lambda: publisher.forwarder.up.counts["held"])
        lost = len(video.sent)
        await until(lambda: watcher.frames[-1].number > lost + 5, what="the picture's return")
        assert relay.total("hime_missing_packets_total", outcome="lost") == 1
        assert relay.total("hime_frames_skipped_total") >= 1
        assert relay.total("hime_keyframe_requests_total", reason="gap") >= 1
        # Skipped frames were never decoded: each decoded one has its outcome, and no other.
        publisher.forwarder.up.refused = frozenset()
        assert all(a.number < b.number for a, b in zip(watcher.frames, watcher.frames[1:], strict=False))


async def test_aiortc_stands_still_after_a_packet_that_never_comes() -> None:
    async with plain(**SMALL) as (receiver, _):
        hold(receiver.forwarder, receiver, seconds=60)
        await until(lambda: receiver.forwarder.up.counts["held"])
        await asyncio.sleep(1)
        shown = len(receiver.frames)
        await asyncio.sleep(3)
        assert len(receiver.frames) == shown


@pytest.mark.parametrize("loss", [0.02, 0.05])
async def test_lost_packets_are_repaired(loss: float) -> None:
    async with call() as (relay, publisher, watcher, video):
        before = age(video, watcher.frames, 20)
        publisher.forwarder.impair(Path(loss=loss))
        start, first = len(watcher.frames), watcher.frames[-1].number
        await until(lambda: publisher.forwarder.up.counts["lost"] >= 4 and len(watcher.frames) > start + 60, 40)
        publisher.forwarder.impair(Path())
        await young_again(video, watcher, before)
        assert relay.total("hime_missing_packets_total", outcome="recovered") >= 2
        # Of what the publisher sent nearly all is shown; the rest gave way to newer frames on a busy machine.
        assert len(watcher.frames) - start > 0.7 * (watcher.frames[-1].number - first)


async def test_a_long_and_uneven_way_adds_its_own_delay_only() -> None:
    async with call() as (_, publisher, watcher, video):
        before = age(video, watcher.frames, 20)
        publisher.forwarder.impair(Path(delay=0.1, jitter=0.02))
        await asyncio.sleep(1.5)
        await young_again(video, watcher, before + 0.1)
        assert age(video, watcher.frames) > 0.08
        publisher.forwarder.impair(Path())
        await young_again(video, watcher, before)


async def test_a_narrow_way_that_widens_again_leaves_nothing_behind() -> None:
    async with call(width=640, height=360) as (_, publisher, watcher, video):
        publisher.forwarder.impair(Path(rate=2_000_000))
        await asyncio.sleep(1)
        before = age(video, watcher.frames, 20)
        publisher.forwarder.impair(Path(rate=300_000))
        await asyncio.sleep(4)
        publisher.forwarder.impair(Path(rate=2_000_000))
        await young_again(video, watcher, before)
