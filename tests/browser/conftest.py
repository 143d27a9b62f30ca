from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from benchmarks.shared.chromium import ALLOW_ALL, FLAGS, chromium_path
from tests.browser.axe import serious_findings
from tests.browser.camera import write_camera, write_sound
from tests.browser.paths import ARTIFACTS, ROOT
from tests.browser.watched import Watched, asks
from tests.coturn import SECRET, coturn

# Lets the tests see every peer connection that the page opens.
REMEMBER_CONNECTIONS = """
  window.testConnections = [];
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...options) { super(...options); window.testConnections.push(this); }
  };
"""


class Server:
    """`hime serve` as a user starts it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://localhost:{self.port}"
        self.log = data / "server.log"
        # What is tested here is that a call is enhanced, not how fast: slow machines get the time they need.
        self.environment = {"HIME_FRAME_DEADLINE_MS": "300", **os.environ}
        self.process: subprocess.Popen[bytes] | None = None
        self.command = [sys.executable, "-m", "server.cli", "serve", "--port", str(self.port), "--data", str(data)]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        until(self.ready, 120, lambda: f"the server is not ready; its log ends:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            pytest.fail(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False


def until(condition: Callable[[], object], seconds: float, message: str | Callable[[], str]) -> object:
    """Waits until the condition is true, and gives what it returned. The time is for slow machines, not a claim."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            pytest.fail(message if isinstance(message, str) else message())
        time.sleep(0.25)


def shot(page: Page, name: str, full_page: bool = False) -> None:
    """Keeps a picture of a state of the page, in which axe must find nothing serious, be it light or dark."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=full_page)
    assert serious_findings(page) == [], name


@pytest.fixture(scope="session")
def client_build() -> Path:
    build = ROOT / "client_web" / "dist"
    if not (build / "index.html").is_file():
        pytest.fail("client_web/dist is missing: run `npm install && npm run build` in client_web (make test does)")
    return build


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, client_build: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        ARTIFACTS.mkdir(exist_ok=True)
        shutil.copy(server.log, ARTIFACTS / "server.log")


@pytest.fixture(scope="module")
def turn_server(tmp_path_factory: pytest.TempPathFactory, client_build: Path) -> Iterator[Server]:
    """A relay with a TURN server of its own, by UDP and by TCP."""
    with coturn(tmp_path_factory.mktemp("turn"), "--allow-loopback-peers") as turn:
        server = Server(tmp_path_factory.mktemp("ways"))
        server.environment |= {"HIME_ICE_SERVERS": ",".join(turn.urls[:2]), "HIME_TURN_SECRET": SECRET}
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("camera")
    return write_camera(folder / "portrait.y4m"), write_sound(folder / "voice.wav")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


def launch(playwright: Playwright, *flags: str, allow_all: bool = True) -> Browser:
    """allow_all: camera, microphone and screen are given to whoever asks, instead of by each context's permissions."""
    allowed = (ALLOW_ALL,) if allow_all else ()
    return playwright.chromium.launch(executable_path=chromium_path(), args=[*FLAGS, *allowed, *flags])


@pytest.fixture(scope="module")
def portrait_browser(playwright: Playwright, recordings: tuple[Path, Path]) -> Iterator[Browser]:
    """Its camera films the portrait."""
    camera, sound = recordings
    browser = launch(
        playwright,
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        f"--use-file-for-fake-audio-capture={sound}",
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def plain_browser(playwright: Playwright) -> Iterator[Browser]:
    """Its camera shows Chromium's test pattern, slowly: it costs next to nothing."""
    browser = launch(playwright, "--use-fake-device-for-media-stream=fps=5")
    yield browser
    browser.close()


def open_context(
    browser: Browser, width: int = 1280, height: int = 800, quality: str = "medium", pixel_ratio: float = 1
) -> BrowserContext:
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=pixel_ratio)
    context.add_init_script(REMEMBER_CONNECTIONS)
    context.add_init_script(
        f"if (!localStorage['hime.lobby']) localStorage['hime.lobby'] = JSON.stringify({{ quality: '{quality}' }})"
    )
    return context


@pytest.fixture
def opened(plain_browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens watched pages of a relay that asks for no invitation, each in a browser of its own."""
    contexts: list[BrowserContext] = []

    def open_page(width: int = 1280, height: int = 800) -> Watched:
        contexts.append(open_context(plain_browser, width, height))
        watched = Watched(contexts[-1])
        asks(watched.page)
        return watched

    yield open_page
    for context in contexts:
        context.close()
