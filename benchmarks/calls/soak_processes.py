"""The processes of `benchmarks.calls.soak`: the relay, one who stays, one who watches, and those who come and go."""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.shared.stand_ins import EnlargingEngine, OneFarFace, picture_of_a_face

FPS, GUESTS_FPS = 20, 10
SEATS = 2  # guests at a time
STAYS, PAUSES = (5.0, 15.0), (1.0, 4.0)  # seconds
LOSS, DELAY, JITTER = 0.02, 0.02, 0.01  # of a guest's paths, each way
PATIENCE = 60.0  # seconds for an answer of the relay, on a busy machine
COUNTED = ("Session", "Participant", "VideoPipeline", "Enhancer", "EncodedStream", "PeerTransport", "People")


def relay(ready, stop, stand_ins: bool, told) -> None:
    """told: each second (clock, tasks of the event loop), and in the end how many objects of the relay's there are."""
    import uvicorn

    from server.app import create_app
    from server.memory import keep_what_is_loaded
    from server.settings import Settings

    async def tell() -> None:
        while True:
            told.put((time.monotonic(), len(asyncio.all_tasks())))
            await asyncio.sleep(1)

    async def run(data: str) -> None:
        parts = {"engine": EnlargingEngine(), "detector": OneFarFace()} if stand_ins else {}
        app = create_app(Settings(_env_file=None, data=Path(data)), **parts)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        keep_what_is_loaded()  # as `hime serve` does
        ready.put(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        telling = asyncio.create_task(tell())
        await asyncio.to_thread(stop.wait)
        telling.cancel()
        gc.collect()
        kinds = Counter(type(one).__name__ for one in gc.get_objects())
        told.put({kind: kinds[kind] for kind in COUNTED})
        await app.state.relay.stop()
        server.should_exit = True
        await serving

    with tempfile.TemporaryDirectory() as data:
        asyncio.run(run(data))


def _face(started=None, fps: int = FPS) -> Any:
    """A track that shows a person who sits still, under the frame's number. started: is told when it began."""
    from benchmarks.shared.peers import MovingVideo
    from hime_core.video.picture import Picture

    class Face(MovingVideo):
        face: np.ndarray | None = None

        async def recv(self):
            frame = await super().recv()
            if self.face is None:
                if started is not None:
                    started.put(self._start)
                self.face = picture_of_a_face(Picture.from_frame(frame).y)
            picture = Picture.from_frame(frame)
            luma = picture.y.copy()
            luma[self.height // 4 :] = self.face[self.height // 4 :]
            shown = Picture(luma, picture.u, picture.v).to_frame()
            shown.pts, shown.time_base = frame.pts, frame.time_base
            return shown

    return Face(fps=fps)


def publish(url: str, started, stop) -> None:
    async def run() -> None:
        from benchmarks.shared.peers import Peer

        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            peer = await Peer(http).publish("/whip/bench/ann", _face(started))
            await asyncio.to_thread(stop.wait)
            await peer.leave()

    asyncio.run(run())


def watch(url: str, query: str, start: float, stop, seconds) -> None:
    """Each second: (clock, the ages of the frames that came, in seconds)."""

    async def run() -> None:
        from aiortc.mediastreams import MediaStreamError

        from benchmarks.shared.peers import Peer, number_of
        from server.proof.numbers import COUNTER_BITS

        class Ages(Peer):
            async def _read(self, track) -> None:
                self.ages: list[float] = []
                with suppress(MediaStreamError):
                    while True:
                        number = number_of(await track.recv())
                        # numbers come round again, ages are taken to be shorter than that
                        age = (time.monotonic() - start - number / FPS) % (2**COUNTER_BITS / FPS)
                        self.ages.append(round(age, 4))

        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            peer = await Ages(http).watch(f"/whep/bench/ann?{query}", ("video",))
            while not stop.is_set():
                await asyncio.sleep(1)
                if ages := getattr(peer, "ages", []):
                    peer.ages = []
                    seconds.put((time.monotonic(), ages))
            await peer.leave()

    asyncio.run(run())


def visit(url: str, stop, counts) -> None:
    """Guests join and leave over paths that lose packets, half of them with a photo, until `stop`. In the end puts what
    they did. A third leaves by DELETE, a third by closing the connection, a third without a word."""

    async def run() -> None:
        done: Counter[str] = Counter()
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            await asyncio.gather(*(_seat(http, seat, stop, done) for seat in range(SEATS)))
        counts.put(dict(done))

    asyncio.run(run())


async def _seat(http: httpx.AsyncClient, seat: int, stop, done: Counter[str]) -> None:
    chosen, number = random.Random(seat), 0
    while not stop.is_set():
        try:
            await _visited(http, f"guest{seat}-{number % 4}", number, chosen, done)
        except Exception as error:  # the relay refused, or was too slow: it is told, and the next guest comes
            done[f"failed: {type(error).__name__} {str(error)[:80]}"] += 1
        number += 1
        await asyncio.sleep(chosen.uniform(*PAUSES))


async def _visited(http: httpx.AsyncClient, name: str, number: int, chosen: random.Random, done: Counter[str]) -> None:
    from benchmarks.shared.forwarder import Path as Network
    from benchmarks.shared.forwarder import forwarding
    from benchmarks.shared.impaired import ImpairedPeer

    path = Network(loss=LOSS, delay=DELAY, jitter=JITTER)
    photos = number % 2 == 0
    if photos:
        files = [("photos", ("a.jpg", _portrait(), "image/jpeg"))]
        answer = await http.post(f"/api/people/{name}/exemplars", files=files, data={"consent": "true"})
        done["photos" if answer.status_code == 201 else f"photo refused: {answer.status_code}"] += 1
    async with forwarding(number) as up, forwarding(number + 1000) as down:
        up.impair(path)
        down.impair(path)
        publisher, watcher = ImpairedPeer(http, up), ImpairedPeer(http, down)
        try:
            await publisher.publish(f"/whip/bench/{name}?person={name}", _face(fps=GUESTS_FPS))
            await watcher.watch("/whep/bench/ann", ("video",))
            done["joins"] += 1
            await asyncio.sleep(chosen.uniform(*STAYS))
            done["frames"] += len(watcher.frames)
            if photos:
                answer = await http.delete(f"/api/people/{name}")
                done["deleted" if answer.status_code == 204 else f"not deleted: {answer.status_code}"] += 1
            if number % 3 == 0:
                done["left by DELETE"] += 1
                await asyncio.gather(publisher.leave(), watcher.leave())
            elif number % 3 == 1:
                done["left by closing"] += 1
            else:
                done["left without a word"] += 1
                up.impair(Network(loss=1.0))
                down.impair(Network(loss=1.0))
        finally:
            await asyncio.gather(publisher.close(), watcher.close())


def _portrait() -> bytes:
    from PIL import Image
    from skimage.data import astronaut

    buffer = BytesIO()
    Image.fromarray(astronaut()).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
