"""Calls over the networks that there are: one open port, a range of them, browsers that hide their addresses."""

from __future__ import annotations

import re

import httpx

from benchmarks.shared.peers import MovingVideo, Peer, Tone, serving, until


def _ports(answer: str) -> set[int]:
    return {int(port) for port in re.findall(r"a=candidate:\S+ 1 udp \d+ \S+ (\d+)", answer)}


async def test_a_whole_call_goes_over_one_port() -> None:
    async with serving(udp_ports="39990") as relay:
        ann = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        await relay.peer().publish("/whip/r/bob", MovingVideo(), Tone())
        watchers = [await relay.peer().watch(f"/whep/r/{name}") for name in ("ann", "bob", "ann")]
        await until(lambda: all(len(one.frames) > 20 and len(one.audio) > 20 for one in watchers))
        answers = [peer.pc.remoteDescription.sdp for peer in (ann, *watchers)]
        assert set.union(*map(_ports, answers)) == {39990}
        seen = len(watchers[1].frames)
        await ann.leave()
        await until(lambda: len(watchers[1].frames) > seen + 20)  # the port goes on
        again = await relay.peer().publish("/whip/r/ann", MovingVideo())
        newcomer = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: len(newcomer.frames) > 10)
        assert _ports(again.pc.remoteDescription.sdp) == {39990}


async def test_no_port_left_is_said_and_nothing_else_suffers() -> None:
    async with serving(udp_ports="39980-39981") as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        refused = relay.peer()
        refused.pc.addTransceiver("video", direction="recvonly")
        response = await refused.offer("/whep/r/ann")
        assert response.status_code == 503 and "39980 to 39981" in response.json()["detail"]
        assert response.headers["retry-after"]
        seen = len(watcher.frames)
        await until(lambda: len(watcher.frames) > seen + 20)
        await watcher.leave()
        other = relay.peer()
        await until(lambda: not relay.rooms.get("r").participants["ann"].watchers)
        await other.watch("/whep/r/ann", ("video",))
        await until(lambda: other.frames)


async def test_a_browser_that_hides_its_addresses_and_has_no_more_of_them_connects() -> None:
    """As Firefox without a camera: mDNS names only, and the word that these were all."""
    async with serving() as relay:
        peer = _Hiding(relay.http)
        relay.peers.append(peer)
        await peer.publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: len(watcher.frames) > 10)


class _Hiding(Peer):
    async def offer(self, path: str) -> httpx.Response:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        own = self.pc.localDescription.sdp
        assert "a=end-of-candidates" in own
        hidden = re.sub(r"(a=candidate:\S+ 1 udp \d+) \S+ ", r"\1 4f1c1f7e-93b9-4c4c-a2d5-5f8f9f7d3d4e.local ", own)
        return await self.http.post(path, content=hidden, headers={"Content-Type": "application/sdp"})
