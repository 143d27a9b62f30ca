"""The call page in Firefox; skipped where Firefox is not installed (`apt-get install firefox-esr`)."""

from __future__ import annotations

import httpx
import pytest

from benchmarks.clients.bidi import Page, firefox, firefox_path
from benchmarks.shared.peers import MovingVideo, Peer, Tone, until
from server.proof.numbers import COUNTER_BITS
from tests.browser.conftest import ARTIFACTS, Server

ROOM = "firefox-test"
MANY = 30  # frames
# The number that is drawn into the picture which that element shows; null before the first.
NUMBER = """
  (where, bits) => {
    const shown = document.querySelector(where);
    const width = shown?.videoWidth ?? shown?.width, height = shown?.videoHeight ?? shown?.height;
    if (!width || !height) return null;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d');
    context.drawImage(shown, 0, 0);
    const row = context.getImageData(0, height >> 3, width, 1).data, block = Math.floor(width / bits);
    let number = 0;
    for (let bit = 0; bit < bits; bit += 1) {
      if (row[4 * (bit * block + (block >> 1))] > 128) number |= 1 << bit;
    }
    return number;
  }
"""
SHOWN = "(where) => { const shown = document.querySelector(where); return !!shown && !shown.hidden }"
CLICK = "(text) => [...document.querySelectorAll('button')].find((one) => one.innerText.trim() === text).click()"
PRESENT = "async (room, name) => name in (await (await fetch(`/api/rooms/${room}`)).json()).participants"


async def shows(page: Page, where: str, video: MovingVideo) -> None:
    """Waits until the picture of an element is among those just sent, and then moves on."""

    async def number() -> int:
        return await page.evaluate(NUMBER, where, COUNTER_BITS) or 0

    await page.until(f"(...given) => ({NUMBER})(...given) > {len(video.sent) - MANY}", where, COUNTER_BITS)
    first = await number()
    await page.until(f"(...given) => ({NUMBER})(...given) > {first + MANY}", where, COUNTER_BITS)
    assert await number() <= len(video.sent)


@pytest.mark.skipif(firefox_path() is None, reason="Firefox is not installed")
async def test_a_call_in_firefox(server: Server) -> None:
    """Its own picture arrives at a watcher, a participant who is there is shown, and nothing stays when it leaves."""
    ARTIFACTS.mkdir(exist_ok=True)
    async with httpx.AsyncClient(base_url=server.url, timeout=20, trust_env=False) as http, firefox() as page:
        ben, watcher, video = Peer(http), Peer(http), MovingVideo()
        try:
            await ben.publish(f"/whip/{ROOM}/ben", video, Tone())
            await page.goto(f"{server.url}/?room={ROOM}&name=ann&autojoin=1")
            await page.until(SHOWN, "#join")
            await page.evaluate(CLICK, f"Join {ROOM} as ann")
            await page.until(SHOWN, "#call")
            await page.until(PRESENT, ROOM, "ann")
            await watcher.watch(f"/whep/{ROOM}/ann?view=original&layout=native")
            await until(lambda: len(watcher.frames) > MANY and len(watcher.audio) > MANY, 60, "Firefox's picture")
            await shows(page, ".tile video", video)
            await page.screenshot(ARTIFACTS / "firefox-call.png")
            await page.evaluate(CLICK, "Slider")
            await shows(page, ".compare canvas", video)
            await page.screenshot(ARTIFACTS / "firefox-compare.png")
            await page.evaluate(CLICK, "Leave")
            await page.until(SHOWN, "#lobby")
            await page.until(f"async (...given) => !(await ({PRESENT})(...given))", ROOM, "ann")
            assert page.complaints == []
        finally:
            await ben.close()
            await watcher.close()


@pytest.mark.skipif(firefox_path() is None, reason="Firefox is not installed")
async def test_the_connection_test_in_firefox(turn_server: Server) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    async with firefox(**{"media.peerconnection.ice.loopback": True}) as page:
        await page.goto(f"{turn_server.url}/?room={ROOM}")
        await page.until(SHOWN, "#lobby-check")
        await page.evaluate(CLICK, "Test the connection")
        await page.until("() => !!document.querySelector('.verdict')?.dataset.verdict.match(/good|fair|bad/)")
        await page.screenshot(ARTIFACTS / "firefox-ways.png")
        states = await page.evaluate(
            "() => [...document.querySelectorAll('.ways li')].map((row) => row.dataset.state).join()"
        )
        assert states == "works,works,works"
        assert page.complaints == []
