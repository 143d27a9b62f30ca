"""Calls that go on in real browsers: whose machine dies, sleeps or changes networks, and whose relay is killed."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser.conftest import Server, launch, open_context, until

ROOM = "survival"
CAMERA = "--use-fake-device-for-media-stream=fps=10"
PUBLISHED = "window.testConnections.find((one) => one.getSenders().some((sender) => sender.track))"
# What the page would see of a network that is lost: Chromium says so after some seconds only.
LOSES_ITS_NETWORK = f"""
  () => {{
    const connection = {PUBLISHED};
    Object.defineProperty(connection, 'connectionState', {{ value: 'disconnected', configurable: true }});
    connection.dispatchEvent(new Event('connectionstatechange'));
    delete connection.connectionState;
  }}
"""
WAY = f"""
  async () => {{
    const connection = {PUBLISHED}, found = {{ state: connection.connectionState }};
    found.fragments = [connection.localDescription, connection.remoteDescription].map((one) =>
      /a=ice-ufrag:(.*)/.exec(one.sdp)[1].trim());
    (await connection.getStats()).forEach((report) => {{
      if (report.type === 'transport') found.pair = report.selectedCandidatePairId;
      if (report.type === 'outbound-rtp' && report.kind === 'video') found.sent = report.framesSent;
    }});
    return found;
  }}
"""
# Counts the frames that the video of a tile shows.
COUNT_FRAMES = """
  (video) => {
    if (video.shown !== undefined) return video.shown;
    video.shown = 0;
    const count = () => { video.shown += 1; video.requestVideoFrameCallback(count); };
    video.requestVideoFrameCallback(count);
    return 0;
  }
"""


class LightServer(Server):
    """Without an engine: it is ready within seconds."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.command = [sys.executable, "-m", "tests.media.served", str(self.port), str(data)]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, client_build: Path) -> Iterator[LightServer]:
    server = LightServer(tmp_path_factory.mktemp("relay"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Machine:
    """A browser of its own, all of whose processes can be stopped."""

    def __init__(self, playwright: Playwright) -> None:
        self._mark = f"--machine={secrets.token_hex(8)}"
        self.browser = launch(playwright, CAMERA, self._mark)

    def send(self, number: signal.Signals) -> None:
        for process in self._processes():
            os.kill(process, number)

    def _processes(self) -> list[int]:
        parents: dict[int, int] = {}
        found: list[int] = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if self._mark.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has ended meanwhile
                continue
        while more := [one for one, parent in parents.items() if parent in found and one not in found]:
            found += more
        return found


@contextmanager
def machine(playwright: Playwright) -> Iterator[Machine]:
    made = Machine(playwright)
    yield made
    if made.browser.is_connected():
        made.browser.close()


def join(browser: Browser, server: Server, name: str) -> Page:
    page = open_context(browser, quality="low").new_page()
    page.goto(f"{server.url}/?room={ROOM}&name={name}&autojoin=1")
    page.get_by_role("button", name=f"Join {ROOM} as {name}").click()
    return page


@pytest.fixture
def ben(plain_browser: Browser, relay: LightServer) -> Iterator[Page]:
    page = join(plain_browser, relay, "ben")
    yield page
    page.context.close()


def shown(page: Page, name: str = "ann") -> int:
    """Frames since the video was first looked at; 0 for a new one, which is looked at from here on."""
    video = page.locator(f".tile[data-name={name}] video").first
    if not video.count():
        return 0
    return int(video.evaluate(COUNT_FRAMES))  # in one go, as the video may be replaced at any time


def plays(page: Page, more_than: int = 5) -> None:
    until(lambda: shown(page) > more_than, 60, "no picture comes")


def connections(page: Page) -> Any:
    return page.evaluate("() => window.testConnections.length")


def test_the_last_picture_stays_until_a_machine_that_died_is_back(
    playwright: Playwright, relay: LightServer, ben: Page
) -> None:
    trouble = ben.locator(".tile[data-name=ann] .trouble")
    with machine(playwright) as first, machine(playwright) as second:
        join(first.browser, relay, "ann")
        plays(ben)
        made = connections(ben)
        first.send(signal.SIGKILL)
        expect(trouble).to_have_text("Reconnecting…", timeout=20_000)
        expect(ben.locator(".tile[data-name=ann] video")).to_have_count(1)
        before = shown(ben)
        assert before > 5  # it is the same video, which stands still
        join(second.browser, relay, "ann")
        until(lambda: shown(ben) > before + 10, 60, "the picture does not go on")
        expect(trouble).to_be_hidden()
        assert connections(ben) == made


def test_a_machine_that_sleeps_and_wakes_is_seen_again(playwright: Playwright, relay: LightServer, ben: Page) -> None:
    with machine(playwright) as laptop:
        join(laptop.browser, relay, "ann")
        plays(ben)
        made = connections(ben)
        laptop.send(signal.SIGSTOP)
        try:
            expect(ben.locator(".tile[data-name=ann] .trouble")).to_have_text("Reconnecting…", timeout=20_000)
            time.sleep(5)
            before = shown(ben)
        finally:
            laptop.send(signal.SIGCONT)
        woken = time.monotonic()
        until(lambda: shown(ben) > before, 60, "the picture does not go on")
        print(f"\nthe next picture came {time.monotonic() - woken:.2f} s after the machine woke")
        until(lambda: shown(ben) > before + 10, 60, "the picture does not go on")
        assert connections(ben) == made


def test_chromium_restarts_ice_under_the_same_session(playwright: Playwright, relay: LightServer, ben: Page) -> None:
    with machine(playwright) as laptop:
        ann = join(laptop.browser, relay, "ann")
        plays(ben)
        made, before = connections(ann), ann.evaluate(WAY)
        ann.evaluate(LOSES_ITS_NETWORK)

        def restarted() -> bool:
            now = ann.evaluate(WAY)
            new = all(one != other for one, other in zip(now["fragments"], before["fragments"], strict=True))
            return new and now["state"] == "connected" and now["pair"] != before["pair"]

        until(restarted, 30, lambda: f"there is no other way than {before}: {ann.evaluate(WAY)}")
        sent, seen = ann.evaluate(WAY)["sent"], shown(ben)
        time.sleep(6)  # longer than the relay waits for one whose way it does not know
        until(lambda: ann.evaluate(WAY)["sent"] > sent + 20 and shown(ben) > seen + 20, 30, "media do not go on")
        expect(ann.locator("#banner")).to_be_hidden()
        assert connections(ann) == made


def test_a_relay_that_is_killed_and_started_again_has_its_call_back(
    playwright: Playwright, relay: LightServer, ben: Page
) -> None:
    with machine(playwright) as laptop:
        ann = join(laptop.browser, relay, "ann")
        plays(ben)
        assert relay.process is not None
        relay.process.kill()
        relay.process.wait()
        relay.process = None
        for page in (ann, ben):
            expect(page.locator("#banner")).to_contain_text("Trying again", timeout=20_000)
        time.sleep(8)  # both have tried more and more slowly
        ben.evaluate("() => document.querySelectorAll('.tile video').forEach((video) => { video.shown = -1e9 })")
        relay.start()
        ready = time.monotonic()
        until(lambda: shown(ben) > 0, 60, "the picture does not come back")
        print(f"\nthe picture was back {time.monotonic() - ready:.2f} s after the relay was ready")
        for page in (ann, ben):
            expect(page.locator("#banner")).to_be_hidden(timeout=30_000)
