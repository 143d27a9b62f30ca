"""Whole calls through the application itself: the detector, the bank, the network, real codecs on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI

from benchmarks.shared.peers import Peer, until
from benchmarks.shared.portrait import CLOSE_FRAMES, WALK_FRAMES, Portrait, face_region, number_of, truth
from benchmarks.shared.stand_ins import SlowEngine
from hime_core.engine import Engine
from hime_core.faces.recognition import Recogniser
from hime_core.video.picture import Picture
from server.app import Relay, create_app
from server.settings import Settings
from tests.unit.relay_fakes import bomb, plain

FAR = CLOSE_FRAMES + WALK_FRAMES + 20


@asynccontextmanager
async def relay_of(
    data: Path,
    engine: Engine | None = None,
    deadline_ms: float = 120,
    recogniser: Recogniser | None = None,
    given: Mapping[str, Any] | None = None,
) -> AsyncIterator[tuple[Relay, httpx.AsyncClient]]:
    """given: more settings."""
    settings = Settings(_env_file=None, data=data, frame_deadline_ms=deadline_ms, **(given or {}))
    app: FastAPI = create_app(settings, engine=engine, recogniser=recogniser)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), "the server did not start"
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        try:
            yield app.state.relay, http
        finally:
            server.should_exit = True
            await serving


class Watcher(Peer):
    """Keeps the far face of every frame it gets, by the frame's number."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        super().__init__(http)
        self.faces: dict[int, np.ndarray] = {}
        self.times: list[float] = []
        self.size = (0, 0)

    async def _read(self, track) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.times.append(time.monotonic())
                picture = Picture.from_frame(frame)
                self.size = picture.width, picture.height
                number = number_of(picture)
                if number >= FAR and self.size == (1280, 720):
                    self.faces[number] = picture.rgb()[face_region(number)]


def outcomes(relay: Relay) -> dict[str, float]:
    return counts(relay, "hime_frames_total", "outcome")


def counts(relay: Relay, metric: str, label: str) -> dict[str, float]:
    samples = (s for family in relay.metrics.registry.collect() for s in family.samples if s.name == metric)
    return {s.labels[label]: s.value for s in samples}


def psnr(image: np.ndarray, wanted: np.ndarray) -> float:
    return 10 * float(np.log10(255**2 / np.square(image.astype(float) - wanted).mean()))


@pytest.mark.timeout(240)
async def test_the_far_face_comes_out_nearer_to_the_truth(tmp_path: Path) -> None:
    """The enhanced view against the plain one through the same encoder, both against the truth."""
    # A loaded machine that encodes and decodes for three peers besides shall be late, not plain.
    async with relay_of(tmp_path, deadline_ms=300) as (relay, http):
        portrait = Portrait()
        publisher, enhanced, plain = Peer(http), Watcher(http), Watcher(http)
        await publisher.publish("/whip/r/ann", portrait)
        await until(
            lambda: "ann" in (room := relay.rooms.get("r")).participants and room.participants["ann"].joined, 30
        )
        await enhanced.watch("/whep/r/ann?view=enhanced&layout=upscale", ("video",))
        await plain.watch("/whep/r/ann?view=original&layout=upscale", ("video",))
        await until(lambda: portrait.number > FAR, 60)
        bank = (await http.get("/api/rooms/r/ann/bank")).json()
        await until(lambda: len(enhanced.faces) >= 60 and len(plain.faces) >= 60, 90, "60 far frames in both views")
        for peer in (publisher, enhanced, plain):
            await peer.close()
        assert len(bank["exemplars"]) >= 1, "the bank did not fill while the face was close"
        assert all(e["source"] == "call" and e["native_px"] >= 128 for e in bank["exemplars"])
        found = outcomes(relay)
        assert found.get("enhanced", 0) >= 20, (found, counts(relay, "hime_bypass_total", "reason"))
    common = sorted(set(enhanced.faces) & set(plain.faces))[10:]  # the first ones are still fading in
    gains = [psnr(enhanced.faces[n], t) - psnr(plain.faces[n], t) for n in common for t in [truth(n)[face_region(n)]]]
    keep_pictures(enhanced, plain, common[-1])
    print(f"gain in the face over {len(common)} frames: {np.mean(gains):+.2f} dB; outcomes {found}")
    assert len(common) >= 20
    assert np.mean(gains) >= 0.3


def keep_pictures(enhanced: Watcher, plain: Watcher, number: int) -> None:
    """Plain, enhanced and true face side by side, to be looked at."""
    folder = Path(__file__).parents[2] / "artifacts"
    folder.mkdir(exist_ok=True)
    row = np.hstack([plain.faces[number], enhanced.faces[number], truth(number)[face_region(number)]])
    large = cv2.resize(row, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(folder / "loopback-plain-enhanced-truth.png"), large[..., ::-1])


class Stalls:
    """How long this machine stops everything at worst: what no design of ours can help."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._running = True
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self._running:
            before = time.monotonic()
            time.sleep(0.01)
            self.worst = max(self.worst, time.monotonic() - before - 0.01)

    def stop(self) -> float:
        self._running = False
        return self.worst


@pytest.mark.timeout(240)
async def test_half_a_minute_of_a_slow_engine(tmp_path: Path) -> None:
    """200 ms on purpose: frames stay young and do not grow older, it is counted, and it ends when the cause ends."""
    engine = SlowEngine()
    ages: list[tuple[float, float]] = []
    async with relay_of(tmp_path, engine) as (relay, http):
        observe = relay.metrics.frame_latency
        relay.metrics.frame_latency = lambda s: (ages.append((time.monotonic(), s)), observe(s))[1]
        portrait = Portrait(FAR, frames=1)
        publisher, watcher = Peer(http), Watcher(http)
        await publisher.publish("/whip/r/ann", portrait)
        await until(lambda: relay.rooms.get("r").participants["ann"].joined, 30)
        await watcher.watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: outcomes(relay).get("enhanced", 0) > 20, 60, "20 enhanced frames")

        stalls, started, before = Stalls(), time.monotonic(), counts(relay, "hime_bypass_total", "reason")
        engine.delay = 0.2
        await asyncio.sleep(30)
        ended, stalled = time.monotonic(), stalls.stop()
        after = counts(relay, "hime_bypass_total", "reason")
        engine.delay = 0.0
        enhanced = outcomes(relay)["enhanced"]
        await until(lambda: outcomes(relay)["enhanced"] > enhanced + 20, 30, "enhanced frames after the slowness")
        await publisher.close()
        await watcher.close()

    during = [(at, age) for at, age in ages if started <= at <= ended]
    first = [age for at, age in during if at < started + 5]
    last = [age for at, age in during if at > ended - 5]
    print(
        f"{len(during)} frames, oldest {max(a for _, a in during) * 1e3:.0f} ms, p95 of the first 5 s "
        f"{np.percentile(first, 95) * 1e3:.0f} ms, of the last {np.percentile(last, 95) * 1e3:.0f} ms, "
        f"longest stall of the machine {stalled * 1e3:.0f} ms"
    )
    assert len(during) >= 0.8 * 30 * 20
    assert max(age for _, age in during) <= 0.25 + stalled
    assert np.percentile(last, 95) <= np.percentile(first, 95) + 0.02 + stalled
    assert after["late"] > before.get("late", 0) + 50


async def test_bad_input_is_refused_and_the_call_goes_on(tmp_path: Path) -> None:
    async with relay_of(tmp_path, SlowEngine()) as (relay, http):
        publisher, watcher = Peer(http), Watcher(http)
        await publisher.publish("/whip/r/ann?person=ann", Portrait(FAR, frames=1))
        await until(lambda: relay.rooms.get("r").participants["ann"].joined, 30)
        await watcher.watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: len(watcher.times) > 10, 30, "frames")

        sdp, people = {"Content-Type": "application/sdp"}, "/api/people/ann/exemplars"
        consent = {"consent": "true"}
        offer = publisher.pc.localDescription.sdp
        answers = {
            "no SDP": await http.post("/whip/r/ben", content="hello", headers=sdp),
            "unknown participant": await http.post("/whep/r/nobody", content=offer, headers=sdp),
            "slashes": await http.post("/whip/r/a%2Fb", content=offer, headers=sdp),
            "no face": await http.post(people, data=consent, files={"photos": ("a.jpg", plain())}),
            "text": await http.post(people, data=consent, files={"photos": ("a.jpg", b"just words")}),
            "bomb": await http.post(people, data=consent, files={"photos": ("a.png", bomb())}),
        }
        for what, answer in answers.items():
            assert 400 <= answer.status_code < 500, (what, answer.text)
            assert answer.headers["content-type"] == "application/problem+json", what
            assert len(answer.json()["detail"]) > 10, what
        shown = len(watcher.times)
        await until(lambda: len(watcher.times) > shown + 20, 30, "frames after the bad input")
        assert outcomes(relay)["enhanced"] > 0
        await publisher.close()
        await watcher.close()
