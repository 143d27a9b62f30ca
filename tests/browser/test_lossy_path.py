"""Real Chromium on a bad network: 2 % of loss and 50 ms each way between it and the relay, by what getStats tells."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.shared.forwarder import Path, forwarding
from benchmarks.shared.lip_sync import within
from benchmarks.shared.peers import MovingVideo, Tone, serving, until
from tests.browser.chromium_peer import ChromiumPeer, chromium_peer

LOSSY = Path(loss=0.02, delay=0.05)
SECONDS = 12
VIEW = "view=original&layout=native"
FROZEN = 0.1  # share of the time; a busy machine's own stalls included

Sample = dict[str, dict[str, Any]]


async def sampled(peer: ChromiumPeer, seconds: float) -> list[Sample]:
    """Its figures every two seconds, begin and end included."""
    samples = [await peer.stats()]
    for _ in range(round(seconds / 2)):
        await asyncio.sleep(2)
        samples.append(await peer.stats())
    return samples


def gained(samples: list[Sample], name: str) -> list[float]:
    values = [sample.get("video", {}).get(name, 0) for sample in samples]
    return [after - before for before, after in pairwise(values)]


async def has_gained(peer: ChromiumPeer, name: str, amount: float, seconds: float = 30) -> list[Sample]:
    """Waits until its video has so much more of it."""
    samples = [await peer.stats()]
    deadline = time.monotonic() + seconds
    while len(samples) < 2 or sum(gained(samples, name)) < amount:
        assert time.monotonic() < deadline, f"{name} has not grown by {amount} within {seconds} s: {samples[-1]}"
        await asyncio.sleep(0.5)
        samples[1:] = [await peer.stats()]
    return samples


async def test_chromium_watches_through_loss() -> None:
    async with (
        forwarding(seed=3) as forwarder,
        serving() as relay,
        chromium_peer(relay.http, forwarder) as watcher,
    ):
        await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        await until(lambda: (room := relay.rooms.get("r")) and room.participants["ann"].joined, 30, "the publisher")
        await watcher.watch(f"/whep/r/ann?{VIEW}")
        await until(lambda: relay.total("hime_keyframes_total", reason="start"), 30, "the first keyframe")
        await has_gained(watcher, "framesDecoded", 40)

        forwarder.impair(LOSSY)
        samples = await sampled(watcher, SECONDS)
        frozen, freezes = sum(gained(samples, "totalFreezesDuration")), sum(gained(samples, "freezeCount"))
        ahead = [
            (sample["audio"]["estimatedPlayoutTimestamp"] - sample["video"]["estimatedPlayoutTimestamp"]) / 1000
            for sample in samples
            if all("estimatedPlayoutTimestamp" in sample[kind] for kind in ("audio", "video"))
        ]
        print(
            f"frames {gained(samples, 'framesDecoded')}, {freezes} freezes of {frozen:.2f} s, "
            f"{sum(gained(samples, 'nackCount'))} NACKs, "
            f"{sum(gained(samples, 'retransmittedPacketsReceived'))} packets sent again; sound ahead by {ahead}"
        )
        assert forwarder.down.counts["lost"] > 0
        assert min(gained(samples, "framesDecoded")) > 0
        assert frozen <= FROZEN * SECONDS
        assert sum(gained(samples, "nackCount")) > 0
        assert sum(gained(samples, "retransmittedPacketsReceived")) > 0
        assert within(median(ahead[-4:])), ahead

        # Where nothing can be repaired, a keyframe is asked for, and the picture comes back.
        asked = relay.total("hime_keyframes_total", reason="request")
        forwarder.down.refused = watcher.repairs
        await has_gained(watcher, "pliCount", 1)
        await has_gained(watcher, "keyFramesDecoded", 1)
        assert relay.total("hime_keyframes_total", reason="request") > asked
        forwarder.impair(Path())
        await has_gained(watcher, "framesDecoded", 40)


async def test_chromium_publishes_through_loss() -> None:
    async with (
        forwarding(seed=3) as forwarder,
        serving() as relay,
        chromium_peer(relay.http, forwarder) as publisher,
    ):
        await publisher.publish("/whip/r/ann")
        await until(lambda: (room := relay.rooms.get("r")) and room.participants["ann"].joined, 30, "the publisher")
        watcher = await relay.peer().watch(f"/whep/r/ann?{VIEW}")
        await until(lambda: len(watcher.frames) > 40, 30, "40 frames")
        participant = relay.rooms.get("r").participants["ann"]
        await until(
            lambda: None not in (participant.video.capture.ntp(0), participant.audio.capture.ntp(0)),
            30,
            "a report of each stream's capture",
        )

        forwarder.impair(LOSSY)
        frozen, recovered = (
            relay.total("hime_freezes_total"),
            relay.total("hime_missing_packets_total", outcome="recovered"),
        )
        shown = len(watcher.frames)
        samples = await sampled(publisher, SECONDS)
        frozen = relay.total("hime_freezes_total") - frozen
        times = [one.time for one in watcher.frames[shown:]]
        longest = max(after - before for before, after in pairwise(times))
        print(
            f"{gained(samples, 'framesEncoded')}, {len(times)} shown, {frozen} freezes, longest {longest:.2f} s, "
            f"{sum(gained(samples, 'nackCount'))} NACKs, {sum(gained(samples, 'retransmittedPacketsSent'))} sent again"
        )
        assert forwarder.up.counts["lost"] > 0
        assert len(times) > 0.5 * sum(gained(samples, "framesEncoded")) > 0
        # At 20 frames a second, a frame's last packet is missed 50 ms later and repaired 100 ms after that: a freeze.
        assert frozen <= SECONDS / 2
        assert longest < 1.5
        assert sum(gained(samples, "retransmittedPacketsSent")) > 0
        assert relay.total("hime_missing_packets_total", outcome="recovered") > recovered

        asked = relay.total("hime_keyframe_requests_total", reason="gap")
        forwarder.up.refused = publisher.repairs
        await has_gained(publisher, "pliCount", 1)
        await has_gained(publisher, "keyFramesEncoded", 1)
        assert relay.total("hime_keyframe_requests_total", reason="gap") > asked
        forwarder.impair(Path())
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 40, 30, "the picture of before")
