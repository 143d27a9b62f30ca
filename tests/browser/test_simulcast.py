"""Real Chromium that offers three sizes of one picture: the relay gets the largest, repaired where packets are lost."""

from __future__ import annotations

import asyncio

from benchmarks.shared.forwarder import Path, forwarding
from benchmarks.shared.peers import serving, until
from tests.browser.chromium_peer import PUBLISH, ChromiumPeer, chromium_peer

THREE_SIZES = (
    PUBLISH.replace(
        "for (const track of [...stream.getTracks(), ...heard.stream.getTracks()]) pc.addTrack(track, stream);",
        """
    pc.addTransceiver(stream.getVideoTracks()[0], {
      direction: 'sendonly', streams: [stream],
      sendEncodings: [
        { rid: 'q', scaleResolutionDownBy: 4 }, { rid: 'h', scaleResolutionDownBy: 2 }, { rid: 'f' },
      ],
    });
    """,
    )
    .replace("320", "640")
    .replace("180", "360")
)


class SimulcastPeer(ChromiumPeer):
    async def publish(self, path: str) -> None:
        await self._negotiate(path, THREE_SIZES)


async def test_the_largest_of_three_sizes_is_sent_and_repaired() -> None:
    async with forwarding(seed=3) as forwarder, serving() as relay, chromium_peer(relay.http, forwarder) as peer:
        publisher = SimulcastPeer(peer.page, relay.http, forwarder)
        await publisher.publish("/whip/r/ann")
        await until(lambda: (room := relay.rooms.get("r")) and room.participants["ann"].joined, 30, "the publisher")
        await until(lambda: relay.enhancers and len(relay.enhancers[0].sizes) > 40, 30, "40 frames")
        assert set(relay.enhancers[0].sizes[20:]) == {(640, 360)}

        forwarder.impair(Path(loss=0.03, delay=0.02))
        await until(lambda: relay.total("hime_missing_packets_total", outcome="recovered") >= 3, 30, "repairs")
        await asyncio.sleep(0.5)
        (sending,) = [
            one
            for one in await peer.page.evaluate(
                "async () => [...(await pc.getStats()).values()].filter((one) => one.type === 'outbound-rtp')"
            )
            if one.get("framesEncoded")
        ]
        assert sending["rid"] == "f" and sending["retransmittedPacketsSent"] > 0
