"""Browsers: peer connections of a blank page, with WHIP and WHEP signalling done for it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import httpx
from playwright.async_api import async_playwright

from benchmarks.clients.bidi import firefox, firefox_path
from benchmarks.clients.check import FPS, HEIGHT, WIDTH, Seen
from benchmarks.shared.chromium import FLAGS, chromium_path
from server.proof.numbers import COUNTER_BITS

CONNECTION = """
  const offered = async (codec) => {
    const known = RTCRtpReceiver.getCapabilities('video').codecs;
    const wanted = known.filter(({ mimeType }) => ['video/' + codec.toLowerCase(), 'video/rtx'].includes(
      mimeType.toLowerCase()));
    for (const one of pc.getTransceivers()) {
      if (one.receiver.track.kind === 'video') one.setCodecPreferences(wanted);
    }
    await pc.setLocalDescription();
    while (pc.iceGatheringState !== 'complete') await new Promise((resolve) => setTimeout(resolve, 50));
    return pc.localDescription.sdp;
  };
  window.pc = new RTCPeerConnection();
"""
# Pictures that carry their number, as benchmarks.shared.peers.MovingVideo, and a tone.
PUBLISH = f"""
  async (codec, width, height, fps, bits) => {{
    {CONNECTION}
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [width, height];
    document.body.append(canvas);
    const context = canvas.getContext('2d');
    const block = Math.floor(width / bits);
    let number = 0;
    setInterval(() => {{
      context.fillStyle = `hsl(${{(4 * number) % 360}} 40% 50%)`;
      context.fillRect(0, 0, width, height);
      for (let bit = 0; bit < bits; bit += 1) {{
        const light = (number >> bit) & 1 ? 210 : 45;
        context.fillStyle = `rgb(${{light}} ${{light}} ${{light}})`;
        context.fillRect(bit * block, 0, block, height / 4);
      }}
      number += 1;
    }}, 1000 / fps);
    const audio = new AudioContext();
    const heard = audio.createMediaStreamDestination();
    const tone = new OscillatorNode(audio);
    tone.connect(heard);
    tone.start();
    const stream = canvas.captureStream(fps);
    for (const track of [...stream.getTracks(), ...heard.stream.getTracks()]) {{
      pc.addTransceiver(track, {{ direction: 'sendonly', streams: [stream] }});
    }}
    return offered(codec);
  }}
"""
WATCH = f"""
  async (codec, bits) => {{
    {CONNECTION}
    window.numbers = [];
    pc.ontrack = ({{ track }}) => {{
      const player = document.createElement(track.kind);
      player.autoplay = true;
      player.srcObject = new MediaStream([track]);
      document.body.append(player);
      if (track.kind === 'audio') return;
      const canvas = document.createElement('canvas');
      const context = canvas.getContext('2d', {{ willReadFrequently: true }});
      const read = () => {{
        [canvas.width, canvas.height] = [player.videoWidth, player.videoHeight];
        context.drawImage(player, 0, 0);
        const row = context.getImageData(0, Math.floor(canvas.height / 8), canvas.width, 1).data;
        const block = Math.floor(canvas.width / bits);
        let number = 0;
        for (let bit = 0; bit < bits; bit += 1) {{
          if (row[4 * (bit * block + Math.floor(block / 2))] > 128) number |= 1 << bit;
        }}
        window.numbers.push(number);
        player.requestVideoFrameCallback(read);
      }};
      player.requestVideoFrameCallback(read);
    }};
    for (const kind of ['video', 'audio']) pc.addTransceiver(kind, {{ direction: 'recvonly' }});
    return offered(codec);
  }}
"""
ANSWERED = "(sdp) => pc.setRemoteDescription({ type: 'answer', sdp })"
CAME = """
  async () => {
    let sound = 0;
    (await pc.getStats()).forEach((report) => {
      if (report.type === 'inbound-rtp' && report.kind === 'audio') sound = report.packetsReceived;
    });
    return { numbers: window.numbers, sound };
  }
"""
SDP = {"Content-Type": "application/sdp"}


class Page(Protocol):
    async def evaluate(self, function: str, *arguments: Any) -> Any:
        """What a function returns that is called with the arguments in a blank page. Raises what it throws."""


class Browser:
    """A fresh one is started for each connection. package: Debian's."""

    name: str
    package: str
    publishes: tuple[str, ...]
    watches: tuple[str, ...]

    def path(self) -> str | None:
        raise NotImplementedError

    def page(self) -> AbstractAsyncContextManager[Page]:
        raise NotImplementedError

    def missing(self) -> str:
        return "" if self.path() else f"{self.name}: `apt-get install {self.package}`"

    def version(self) -> str:
        """Of what the browser's command prints, the word that begins with a number."""
        shown = subprocess.run([str(self.path()), "--version"], capture_output=True, text=True, check=True).stdout
        return next(word for word in shown.split() if word[0].isdigit())

    async def publish(self, url: str, codec: str, over: asyncio.Event) -> None:
        async with self.page() as page:
            offer = await page.evaluate(PUBLISH, codec, WIDTH, HEIGHT, FPS, COUNTER_BITS)
            location = await negotiate(page, url, offer)
            await over.wait()
            await end(url, location)

    async def watch(self, url: str, codec: str, seen: Seen, over: asyncio.Event) -> None:
        async with self.page() as page:
            location = await negotiate(page, url, await page.evaluate(WATCH, codec, COUNTER_BITS))
            while not over.is_set():
                came = await page.evaluate(CAME)
                seen.numbers, seen.sound = came["numbers"], came["sound"]
                await asyncio.sleep(0.3)
            await end(url, location)


class Firefox(Browser):
    """Without Cisco's OpenH264, which Firefox fetches by itself, it has VP8 alone of what the relay speaks."""

    name = "Firefox"
    package = "firefox-esr"
    publishes = ("VP8",)
    watches = ("VP8",)

    def path(self) -> str | None:
        return firefox_path()

    def page(self) -> AbstractAsyncContextManager[Page]:
        return firefox()


class Chromium(Browser):
    name = "Chromium"
    package = "chromium"
    publishes = ("VP8", "H264")
    watches = ("VP8", "H264")

    def path(self) -> str | None:
        return chromium_path()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=self.path(), args=FLAGS)
            try:
                yield _ChromiumPage(await browser.new_page())
            finally:
                await browser.close()


class _ChromiumPage:
    def __init__(self, page: Any) -> None:
        self._page = page

    async def evaluate(self, function: str, *arguments: Any) -> Any:
        return await self._page.evaluate(f"(given) => ({function})(...given)", list(arguments))


async def negotiate(page: Page, url: str, offer: str) -> str:
    """Sends the page's offer and gives it the answer; where the session is."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        answer = await http.post(url, content=offer, headers=SDP)
    if answer.status_code != 201:
        raise RuntimeError(f"{answer.status_code}: {answer.text}")
    await page.evaluate(ANSWERED, answer.text)
    return answer.headers["location"]


async def end(url: str, location: str) -> None:
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        (await http.delete(httpx.URL(url).join(location))).raise_for_status()
