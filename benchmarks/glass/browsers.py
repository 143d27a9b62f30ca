"""Chromium as the two ends of a call, each a browser of its own, and SDP carried between them and a relay."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import httpx
import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks.shared.portrait import CLOSE_FRAMES, FPS, HEIGHT, WALK_FRAMES, WIDTH, Portrait

ENDS = (Path(__file__).parent / "ends.js").read_text()
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
# Served by the browser itself, as cameras and VideoFrame need a secure context.
BLANK = "http://localhost:1/"
STYLE = "<!doctype html><style>body{margin:0;background:#000}video{width:100vw;height:100vh;object-fit:contain}</style>"
FAR_FRAMES = 60


class Way(Protocol):
    """From publisher to watcher."""

    def connect(self, publisher: Page, watcher: Page) -> None:
        """Both ends have been made as `window.publisher` and `window.watcher`."""

    def leave(self) -> None: ...


class Direct:
    """Peer to peer."""

    def connect(self, publisher: Page, watcher: Page) -> None:
        offer = publisher.evaluate("publisher.offer()")
        publisher.evaluate("sdp => publisher.accept(sdp)", watcher.evaluate("sdp => watcher.answer(sdp)", offer))

    def leave(self) -> None:
        pass


class Relayed:
    """By WHIP and WHEP (RFC 9725 and its draft counterpart)."""

    def __init__(self, url: str, whip: str, whep: str) -> None:
        self._url, self._whip, self._whep = url, whip, whep
        self._sessions: list[str] = []

    def connect(self, publisher: Page, watcher: Page) -> None:
        for page, name, path in ((publisher, "publisher", self._whip), (watcher, "watcher", self._whep)):
            answer = self._post(path, page.evaluate(f"{name}.offer()"))
            self._sessions.append(answer.headers["location"])
            page.evaluate(f"sdp => {name}.accept(sdp)", answer.text)

    def _post(self, path: str, offer: str, patience: float = 20) -> httpx.Response:
        """Who is to be watched may need a moment until it is there."""
        end = time.monotonic() + patience
        while True:
            answer = httpx.post(
                self._url + path, content=offer, headers={"Content-Type": "application/sdp"}, timeout=30
            )
            if answer.status_code == 201:
                return answer
            if answer.status_code != 404 or time.monotonic() > end:
                raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
            time.sleep(0.2)

    def leave(self) -> None:
        for location in self._sessions[::-1]:
            httpx.delete(httpx.URL(self._url).join(location), timeout=30)


def pictures(width: int) -> tuple[list[str], int]:
    """JPEG in base64, as the camera plays them, and where its loop begins: close, walking away, then far."""
    portrait = Portrait(0, 1, width)
    numbers = range(CLOSE_FRAMES + WALK_FRAMES + FAR_FRAMES)
    return [_jpeg(portrait.shown(number)) for number in numbers], CLOSE_FRAMES + WALK_FRAMES


def _jpeg(rgb: np.ndarray) -> str:
    encoded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return base64.b64encode(encoded.tobytes()).decode()


class Ends:
    """Both browsers, and one call at a time between them."""

    def __init__(self, playwright: Playwright, sizes: Sequence[int], window: tuple[int, int]) -> None:
        """window: the watcher's, CSS pixels."""
        self._browsers = [_launch(playwright), _launch(playwright)]
        self.publisher, self.watcher = _blank(self._browsers[0], (320, 240)), _blank(self._browsers[1], window)
        for width in sizes:
            played, loop = pictures(width)
            self.publisher.evaluate("([w, p, l]) => (window.clips ??= {})[w] = [p, l]", [width, played, loop])

    def begin(self, way: Way, width: int, sound: bool, recvonly: bool, target: float | None) -> None:
        """target: of the watcher's jitter buffer, milliseconds; None leaves it to the browser."""
        self.publisher.evaluate(
            """([w, h, fps, sound]) => {
                 window.publisher = new glass.Publisher(glass.camera(...window.clips[w], w, h, fps), sound);
               }""",
            [width, width * HEIGHT // WIDTH, FPS, sound],
        )
        self.watcher.evaluate(
            "([sound, recvonly, target]) => { window.watcher = new glass.Watcher(sound, recvonly, target); }",
            [sound, recvonly, target],
        )
        way.connect(self.publisher, self.watcher)

    def frames(self) -> dict[str, Any]:
        """Those shown since the last time that they were asked for, as `Meter.taken` has them."""
        return self.watcher.evaluate("watcher.meter.taken()")

    def stats(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The publisher's and the watcher's, of their RTP streams."""
        return self.publisher.evaluate("publisher.stats()"), self.watcher.evaluate("watcher.stats()")

    def end(self, way: Way) -> None:
        way.leave()
        self.watcher.evaluate("watcher.stop()")
        self.publisher.evaluate("publisher.stop()")

    def close(self) -> None:
        for browser in self._browsers:
            browser.close()


@contextmanager
def ends(sizes: Sequence[int], window: tuple[int, int]) -> Iterator[Ends]:
    with ExitStack() as stack:
        made = Ends(stack.enter_context(sync_playwright()), sizes, window)
        stack.callback(made.close)
        yield made


def _launch(playwright: Playwright) -> Browser:
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return playwright.chromium.launch(executable_path=own, args=list(FLAGS))


def _blank(browser: Browser, window: tuple[int, int]) -> Page:
    page = browser.new_page(viewport={"width": window[0], "height": window[1]})
    page.on("console", lambda message: print("browser:", message.text) if message.type == "error" else None)
    page.route(BLANK, lambda route: route.fulfill(body=STYLE, content_type="text/html"))
    page.goto(BLANK)
    page.add_script_tag(content=ENDS)
    return page
