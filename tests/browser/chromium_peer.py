"""A real Chromium as the relay's client behind the tests' UDP forwarder. Signalling is done for it, to lead it there.

Its offer goes out without its candidates and the answer comes back with the forwarder's: Chromium sends there, and the
relay answers whence it is asked, as it does with every peer behind a NAT.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from playwright.async_api import Page, async_playwright

from benchmarks.shared.chromium import FLAGS, chromium_path
from benchmarks.shared.forwarder import Forwarder, payload_types

WATCH = """
  async () => {
    window.pc = new RTCPeerConnection();
    pc.ontrack = ({ track }) => {
      const player = document.createElement(track.kind);
      player.autoplay = true;
      player.srcObject = new MediaStream([track]);
      document.body.append(player);
    };
    for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' });
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
  }
"""
# A picture in motion, 20 times a second, and a tone; about:blank may not ask for a camera.
PUBLISH = """
  async () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [320, 180];
    document.body.append(canvas);
    const context = canvas.getContext('2d');
    let drawn = 0;
    setInterval(() => {
      drawn += 1;
      for (let x = 0; x < 320; x += 8) {
        context.fillStyle = `hsl(${(4 * drawn + x) % 360} 70% ${30 + (x * 7 + drawn) % 40}%)`;
        context.fillRect(x, 0, 8, 180);
      }
    }, 50);
    const audio = new AudioContext();
    const heard = audio.createMediaStreamDestination();
    const tone = new OscillatorNode(audio);
    tone.connect(heard);
    tone.start();
    window.pc = new RTCPeerConnection();
    const stream = canvas.captureStream(20);
    for (const track of [...stream.getTracks(), ...heard.stream.getTracks()]) pc.addTrack(track, stream);
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
  }
"""
STATS = """
  async () => {
    const found = {};
    (await pc.getStats()).forEach((report) => {
      if (['inbound-rtp', 'outbound-rtp'].includes(report.type)) found[report.kind] = { ...report };
    });
    return found;
  }
"""


class ChromiumPeer:
    """One page with one peer connection. repairs: payload types of its retransmissions."""

    def __init__(self, page: Page, http: httpx.AsyncClient, forwarder: Forwarder) -> None:
        self.page, self.http, self.forwarder = page, http, forwarder
        self.repairs: frozenset[int] = frozenset()

    async def watch(self, path: str) -> None:
        await self._negotiate(path, WATCH)

    async def publish(self, path: str) -> None:
        await self._negotiate(path, PUBLISH)

    async def stats(self) -> dict[str, dict[str, Any]]:
        """Of the streams, by kind, as getStats has them."""
        return await self.page.evaluate(STATS)

    async def _negotiate(self, path: str, script: str) -> None:
        offer = await self.page.evaluate(script)
        self.repairs = payload_types(offer, "rtx")
        sdp = {"Content-Type": "application/sdp"}
        response = await self.http.post(path, content=self.forwarder.offer(offer), headers=sdp)
        assert response.status_code == 201, response.text
        answer = {"type": "answer", "sdp": self.forwarder.answer(response.text)}
        await self.page.evaluate("answer => pc.setRemoteDescription(answer)", answer)


@asynccontextmanager
async def chromium_peer(http: httpx.AsyncClient, forwarder: Forwarder) -> AsyncIterator[ChromiumPeer]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        try:
            yield ChromiumPeer(await browser.new_page(), http, forwarder)
        finally:
            await browser.close()
