"""The event loop waits for no thread, whatever a stream's threads do."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.shared.peers import FakeEnhancer, MovingVideo, Peer, Relay, Tone, serving, until
from hime_core.video.coding import CodingDecoder
from server.media.receive import decode, receiver

HANGS = 12.0  # seconds; much more than a busy machine makes the event loop wait
ROOT, OWN = Path(__file__).parents[2], ("server", "hime_core")


@asynccontextmanager
async def loop_lag() -> AsyncIterator[list[float]]:
    """How much later than asked for the loop came back each time, seconds."""
    lags: list[float] = []

    async def measure() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - began - 0.01)

    task = asyncio.create_task(measure())
    try:
        yield lags
    finally:
        task.cancel()


class HangingDecoder:
    """Hangs in the middle of a frame when it is told to, until it is released."""

    def __init__(self) -> None:
        self.hang, self.hanging, self.released = threading.Event(), threading.Event(), threading.Event()
        self.went_on = threading.Event()

    def make(self, make: Callable[..., CodingDecoder]) -> Callable[..., Any]:
        def made(*asked: Any) -> Any:
            decoder = make(*asked)
            decode_frame = decoder.decode

            def decode(packet: Any) -> Any:
                if self.hang.is_set():
                    self.hanging.set()
                    self.released.wait()
                    self.went_on.set()
                return decode_frame(packet)

            decoder.decode = decode  # type: ignore[method-assign]
            return decoder

        return made


@pytest.fixture
def decoder() -> Iterator[HangingDecoder]:
    made = HangingDecoder()
    yield made
    made.released.set()


async def test_a_decoder_that_hangs_when_its_publisher_leaves_holds_up_nobody(
    decoder: HangingDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "JOIN_SECONDS", HANGS / 4)
    monkeypatch.setattr(receiver, "CLOSE_SECONDS", HANGS / 2)
    made = decode.make_decoder
    async with serving() as relay:
        bob = await relay.peer().publish("/whip/r/bob", MovingVideo())
        await until(lambda: relay.enhancers[0].sizes)
        monkeypatch.setattr(decode, "make_decoder", decoder.make(made))
        ann = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: relay.enhancers[1].sizes)
        monkeypatch.setattr(decode, "make_decoder", made)
        watcher = await relay.peer().watch("/whep/r/bob", ("video",))
        await until(lambda: watcher.frames)
        decoder.hang.set()
        await until(decoder.hanging.is_set)
        async with loop_lag() as lags:
            assert (await ann.leave()).status_code == 200
            await until(lambda: "ann" not in relay.rooms.get("r").participants)
            shown = len(watcher.frames)
            await until(lambda: relay.total("hime_failures_total", part="decoder") == 1)
            await until(lambda: relay.enhancers[1].closed and not relay.rooms.get("r")._leaving)
            assert not decoder.went_on.is_set()  # it is left behind, not waited for
            assert len(watcher.frames) > shown
        assert max(lags) < HANGS / 4 / 2  # half of the shortest wait that there was
        assert (await bob.leave()).status_code == 200


class Waits:
    """Notes who waits for a thread on the event loop's thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[str] = []
        self.elsewhere = 0
        self._loop = threading.get_ident()
        self._wrap(monkeypatch, threading.Thread, "join", lambda *a, **k: True)
        self._wrap(monkeypatch, queue.Queue, "get", lambda self, block=True, timeout=None: block)
        self._wrap(monkeypatch, concurrent.futures.Future, "result", lambda future, timeout=None: not future.done())
        wait_on_shutdown = lambda self, wait=True, **options: wait  # noqa: E731
        self._wrap(monkeypatch, concurrent.futures.ThreadPoolExecutor, "shutdown", wait_on_shutdown)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, waits: Callable[..., bool]) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            if waits(*args, **options):
                # The clients of these tests are aiortc's, which joins its threads on the loop: they are not meant.
                files = [frame.filename for frame in traceback.extract_stack()]
                relays_own = any(Path(file).is_relative_to(ROOT / part) for file in files for part in OWN)
                if threading.get_ident() != self._loop:
                    self.elsewhere += relays_own
                elif relays_own:
                    self.found.append(f"{owner.__name__}.{name} in {files}")
            return original(*args, **options)

        monkeypatch.setattr(owner, name, watched)


async def test_nothing_waits_for_a_thread_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(lambda: FakeEnhancer(finish_seconds=0.005)) as relay:
        waits = Waits(monkeypatch)
        await _comings_and_goings(relay)
        await relay.rooms.close()
        assert waits.elsewhere > 10  # threads were waited for, and seen to be
        assert not waits.found
        monkeypatch.undo()


async def _comings_and_goings(relay: Relay) -> None:
    for codec in ("video/VP8", "video/H264"):
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone(), codec=codec)
        await until(lambda: _has_name(relay, publisher))  # noqa: B023
        watchers = [await relay.peer().watch(f"/whep/r/ann?view={view}") for view in ("enhanced", "original")]
        await until(lambda: all(watcher.frames for watcher in watchers))  # noqa: B023
        await watchers[0].leave()
        await relay.peer().publish("/whip/r/ann", MovingVideo())  # takes the name
        await until(lambda: publisher.pc.connectionState == "closed")  # noqa: B023
        refused = await relay.peer().offer("/whip/r/bob")  # sends nothing
        assert refused.status_code == 400


def _has_name(relay: Relay, publisher: Peer) -> bool:
    """Whether its media has come, which takes the name over."""
    ann = relay.rooms.get("r").participants["ann"]
    return ann.joined and publisher.location.endswith(ann.session.id)


async def test_an_application_ends_without_waiting_on_the_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Photos, storage and an engine of its own, which are closed with it."""
    from server import app as application
    from server.settings import Settings
    from tests.unit.enhancer_stage import ByColour
    from tests.unit.relay_fakes import FakeDetector, FakeEngine, portrait

    class SlowToClose(FakeEngine):
        def close(self) -> None:
            time.sleep(HANGS / 4)
            super().close()

    engine = SlowToClose()
    monkeypatch.setattr(application, "own_engine", lambda settings, metrics: engine)
    app = application.create_app(Settings(data=tmp_path), detector=FakeDetector(), recogniser=ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
        answer = await client.post("/api/people/ann/exemplars", files=files, data={"consent": "true"})
        assert answer.status_code == 201
        waits = Waits(monkeypatch)
        lag = loop_lag()
        lags = await lag.__aenter__()
    await lag.__aexit__(None, None, None)
    assert engine.closed and not waits.found and waits.elsewhere
    assert max(lags) < HANGS / 4 / 2
    monkeypatch.undo()
