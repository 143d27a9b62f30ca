"""Chromium as the two ends of a call, each a browser of its own, and SDP carried between them and a relay."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import httpx
import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks.glass.figures import Reading
from benchmarks.shared.chromium import FLAGS, chromium_path
from benchmarks.shared.portrait import CLOSE_FRAMES, FPS, HEIGHT, WALK_FRAMES, WIDTH, Portrait

ENDS = (Path(__file__).parent / "ends.js").read_text()
# Served by the browser itself, as cameras and VideoFrame need a secure context.
BLANK = "http://localhost:1/"
STYLE = "<!doctype html><style>body{margin:0;background:#000}video{width:100vw;height:100vh;object-fit:contain}</style>"
FAR_FRAMES = 60
Statistics = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # of their RTP streams: the publisher's, the watcher's


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

    def __init__(self, url: str, whip: str, whep: str, unsaid: str = "") -> None:
        """unsaid: a header extension that the watcher does not offer, by its URI."""
        self._url, self._whip, self._whep, self._unsaid = url, whip, whep, unsaid
        self._sessions: list[str] = []

    def connect(self, publisher: Page, watcher: Page) -> None:
        for page, name, path in ((publisher, "publisher", self._whip), (watcher, "watcher", self._whep)):
            lines = page.evaluate(f"{name}.offer()").splitlines(keepends=True)
            offer = "".join(line for line in lines if not self._unsaid or self._unsaid not in line)
            answer = self._post(path, offer)
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


class Call(Protocol):
    """From a camera to a screen, while it lasts."""

    def frames(self) -> list[Reading]:
        """Of those shown since the last time that they were asked for."""

    def stats(self) -> Statistics: ...
    def end(self) -> None: ...


class Plain:
    """Between two pages that do nothing else."""

    def __init__(
        self, ends: Ends, way: Way, width: int, sound: bool = True, recvonly: bool = True, target: float | None = None
    ) -> None:
        """recvonly: whether the watcher makes the offer; target: of its jitter buffer, milliseconds, None leaves it to
        the browser."""
        self._way = way
        self.publisher, self.watcher = ends.blank(0), ends.blank(1)
        camera = [*ends.clip(width), width, width * HEIGHT // WIDTH, FPS]
        self.publisher.evaluate(
            "([clip, sound]) => { window.publisher = new glass.Publisher(glass.camera(...clip), sound); }",
            [camera, sound],
        )
        self.watcher.evaluate(
            "([sound, recvonly, target]) => { window.watcher = new glass.Watcher(sound, recvonly, target); }",
            [sound, recvonly, target],
        )
        way.connect(self.publisher, self.watcher)

    def frames(self) -> list[Reading]:
        return [Reading(*one) for one in self.watcher.evaluate("watcher.meter.taken()")]

    def stats(self) -> Statistics:
        return self.publisher.evaluate("publisher.stats()"), self.watcher.evaluate("watcher.stats()")

    def end(self) -> None:
        self._way.leave()
        for page in (self.watcher, self.publisher):
            page.context.close()


class Pages:
    """Between two people who use the relay's own page; the camera alone is not theirs."""

    def __init__(self, ends: Ends, url: str, view: str, width: int) -> None:
        self.publisher, self.watcher = ends.page(0), ends.page(1)
        self.publisher.goto(f"{url}/?room=glass&name=ann&autojoin=1")
        camera = [*ends.clip(width), width, width * HEIGHT // WIDTH, FPS]
        self.publisher.evaluate(
            """clip => {
                 const made = () => new MediaStream([glass.camera(...clip), glass.sound()]);
                 navigator.mediaDevices.getUserMedia = async () => made();
               }""",
            camera,
        )
        self.publisher.get_by_role("button", name="Join glass as ann").click()
        self.watcher.goto(f"{url}/?room=glass&watch=1&view={view}")
        self._metered = False

    def frames(self) -> list[Reading]:
        """From the first call on; the page has put its video in place by then."""
        if not self._metered:
            self.watcher.evaluate("window.meter = new glass.Meter(document.querySelector('.tile video'))")
            self._metered = True
        return [Reading(*one) for one in self.watcher.evaluate("meter.taken()")]

    def stats(self) -> Statistics:
        return self.publisher.evaluate("glass.streams(connections)"), self.watcher.evaluate(
            "glass.streams(connections)"
        )

    def end(self) -> None:
        for page in (self.watcher, self.publisher):
            page.close(run_before_unload=False)
            page.context.close()


class Ends:
    """Both browsers: the publisher's and the watcher's."""

    def __init__(self, playwright: Playwright, window: tuple[int, int]) -> None:
        """window: the watcher's, CSS pixels."""
        self._browsers = _launch(playwright), _launch(playwright)
        self._windows = (320, 240), window
        self._clips: dict[int, tuple[list[str], int]] = {}

    def clip(self, width: int) -> tuple[list[str], int]:
        if width not in self._clips:
            self._clips[width] = pictures(width)
        return self._clips[width]

    def page(self, number: int) -> Page:
        """An empty one of that browser, in which whatever is opened has both ends in `glass`."""
        width, height = self._windows[number]
        page = self._browsers[number].new_context(viewport={"width": width, "height": height}).new_page()
        page.on("console", lambda message: print("browser:", message.text) if message.type == "error" else None)
        page.add_init_script(ENDS)
        return page

    def blank(self, number: int) -> Page:
        page = self.page(number)
        page.route(BLANK, lambda route: route.fulfill(body=STYLE, content_type="text/html"))
        page.goto(BLANK)
        return page

    def close(self) -> None:
        for browser in self._browsers:
            browser.close()


@contextmanager
def ends(window: tuple[int, int]) -> Iterator[Ends]:
    with ExitStack() as stack:
        made = Ends(stack.enter_context(sync_playwright()), window)
        stack.callback(made.close)
        yield made


def _launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
