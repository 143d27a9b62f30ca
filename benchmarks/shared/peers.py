"""A relay on loopback with a made-up enhancer, and peers that publish and watch."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import cv2
import httpx
import numpy as np
import uvicorn
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI

from hime_core.faces.geometry import Headshot
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhanced
from hime_core.stream.job import SeenFace
from hime_core.stream.ladder import WHOLE, Rung
from hime_core.video.coding import Coding
from hime_core.video.picture import Picture
from server import problems
from server.access.access import load_access
from server.load.load import Load
from server.observability.metrics import Metrics
from server.proof.numbers import number_in, numbered
from server.rooms.check_routes import router as check_router
from server.rooms.rooms import Rooms
from server.rooms.routes import router
from server.rooms.stream_routes import router as streams_router
from server.settings import Settings

PORT_RATE = 90000


@dataclass
class FakeJob:
    picture: Picture
    received: float
    headshots: tuple[Headshot, ...] = ()


@dataclass
class FakeEnhancer:
    """Calls every frame enhanced, after the delays; raises in the stages named in `raises`."""

    begin_seconds: float = 0.0
    finish_seconds: float = 0.0
    raises: set[str] = field(default_factory=set)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    codings: list[Coding | None] = field(default_factory=list)
    rungs: list[Rung] = field(default_factory=list)
    rested: int = 0
    people: People = field(default_factory=People)
    seen: tuple[SeenFace, ...] = ()
    closed: bool = False

    def begin(
        self,
        picture: Picture,
        received: float,
        watched: bool = True,
        followed: bool = True,
        coding: Coding | None = None,
        rung: Rung = WHOLE,
    ) -> FakeJob:
        self._stage("begin", self.begin_seconds)
        self.rungs.append(rung)
        self.sizes.append((picture.width, picture.height))
        self.codings.append(coding)
        return FakeJob(picture, received)

    def rest(self) -> None:
        self.rested += 1

    def finish(self, job: FakeJob) -> Enhanced:
        self._stage("finish", self.finish_seconds)
        return Enhanced(job.picture, (), (), "enhanced", (), None, demand="references_3")

    def close(self) -> None:
        self.closed = True

    def _stage(self, name: str, seconds: float) -> None:
        time.sleep(seconds)
        if name in self.raises:
            raise RuntimeError(f"{name} fails on purpose")


class MovingVideo(MediaStreamTrack):
    """A moving picture with its own number written into it in blocks; remembers when each was sent."""

    kind = "video"

    def __init__(self, width: int = 320, height: int = 180, fps: float = 20) -> None:
        super().__init__()
        self.width, self.height, self.fps = width, height, fps
        self.sent: dict[int, float] = {}
        self._start: float | None = None

    async def recv(self) -> av.VideoFrame:
        number = len(self.sent)
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + number / self.fps - time.monotonic()))
        picture = Picture(self.luma(number), *(_grey(self.width, self.height),) * 2)
        frame = picture.to_frame()
        frame.pts, frame.time_base = round(number * PORT_RATE / self.fps), Fraction(1, PORT_RATE)
        self.sent[number] = time.monotonic()
        return frame

    def luma(self, number: int) -> np.ndarray:
        return numbered(self.width, self.height, number)


class TexturedVideo(MovingVideo):
    """One that takes as many bits as it can get: a rough texture moves behind the number."""

    def __init__(self, width: int = 640, height: int = 360, fps: float = 20) -> None:
        super().__init__(width, height, fps)
        self._texture = np.random.default_rng(5).integers(60, 200, (height, 3 * width), np.uint8)
        self._texture = cv2.GaussianBlur(self._texture, (0, 0), 1.5)

    def luma(self, number: int) -> np.ndarray:
        luma = numbered(self.width, self.height, number)
        top, offset = self.height // 4, 2.7 * number % (2 * self.width)
        shift = np.float32([[1, 0, -offset], [0, 1, 0]])
        luma[top:] = cv2.warpAffine(self._texture, shift, (self.width, self.height))[top:]
        return luma


def numbered_frame(number: int, width: int = 160, height: int = 90) -> av.VideoFrame:
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    made = Picture(numbered(width, height, number), chroma, chroma).to_frame()
    made.pts, made.time_base = 3000 * number, Fraction(1, PORT_RATE)
    return made


def number_of(frame: av.VideoFrame) -> int:
    """The number in a received frame, at whatever size."""
    return number_in(Picture.from_frame(frame).y)


def _grey(width: int, height: int) -> np.ndarray:
    return np.full((height // 2, width // 2), 128, np.uint8)


class Tone(MediaStreamTrack):
    """A 440 Hz tone in packets of 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._samples = 0
        self._start: float | None = None

    async def recv(self) -> av.AudioFrame:
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._samples / 48000 - time.monotonic()))
        wave = 8000 * np.sin(2 * np.pi * 440 * (self._samples + np.arange(960)) / 48000)
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None, :], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._samples, Fraction(1, 48000)
        self._samples += 960
        return frame


def _offer_only(transceiver: RTCRtpTransceiver, codec: str) -> None:
    known = RTCRtpReceiver.getCapabilities("video").codecs
    transceiver.setCodecPreferences([one for one in known if one.mimeType == codec])


@dataclass
class Shown:
    """A frame that a watcher got, and when."""

    time: float
    number: int
    pts: int
    size: tuple[int, int]


class Peer:
    """One peer connection of a client to the relay, by WHIP or WHEP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.location = ""
        self.frames: list[Shown] = []
        self.audio: list[av.AudioFrame] = []
        self.ended: set[str] = set()
        self._readers: list[asyncio.Task[None]] = []

    async def offer(self, path: str) -> httpx.Response:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return await self.http.post(
            path, content=self.pc.localDescription.sdp, headers={"Content-Type": "application/sdp"}
        )

    async def _negotiate(self, path: str) -> None:
        response = await self.offer(path)
        assert response.status_code == 201, response.text
        self.location = response.headers["location"]
        await self.pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))

    async def publish(self, path: str, *tracks: MediaStreamTrack, codec: str = "") -> Peer:
        """codec: as in watch()."""
        for track in tracks:
            self.pc.addTrack(track)
        for transceiver in self.pc.getTransceivers():
            if transceiver.kind == "video" and codec:
                _offer_only(transceiver, codec)
        await self._negotiate(path)
        return self

    async def watch(self, path: str, kinds: tuple[str, ...] = ("audio", "video"), codec: str = "") -> Peer:
        """codec: the only one of video that is offered, such as video/H264; all when empty."""
        self.pc.on("track", lambda track: self._readers.append(asyncio.create_task(self._read(track))))
        for kind in kinds:
            transceiver = self.pc.addTransceiver(kind, "recvonly")
            if kind == "video" and codec:
                _offer_only(transceiver, codec)
        await self._negotiate(path)
        return self

    async def _read(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if track.kind == "audio":
                    self.audio.append(frame)
                else:
                    size = frame.width, frame.height
                    self.frames.append(Shown(time.monotonic(), number_of(frame), frame.pts, size))
        self.ended.add(track.kind)

    async def leave(self) -> httpx.Response:
        response = await self.http.delete(self.location)
        await self.pc.close()
        return response

    def cut(self) -> None:
        """Takes the network away: nothing is sent from here on, not even a word of goodbye."""
        for transceiver in self.pc.getTransceivers():
            connection = transceiver.receiver.transport.transport._connection
            for protocol in connection._protocols:
                protocol.transport.sendto = lambda *args: None

    async def close(self) -> None:
        await self.pc.close()
        for reader in self._readers:
            reader.cancel()


class Relay:
    """A served relay; `enhancers` are those it has made."""

    def __init__(self, make: Callable[[], FakeEnhancer], **settings: Any) -> None:
        self.enhancers: list[FakeEnhancer] = []
        self.metrics = Metrics()
        self.settings = Settings(_env_file=None, **settings)
        self.load = Load(self.metrics)  # looked at by who runs it
        self.rooms = Rooms(
            self.settings,
            self.metrics,
            enhancer_factory=lambda people: self._made(make(), people),
            load=self.load,
        )
        self.peers: list[Peer] = []
        self.http: httpx.AsyncClient

    def peer(self) -> Peer:
        self.peers.append(Peer(self.http))
        return self.peers[-1]

    def _made(self, enhancer: FakeEnhancer, people: People) -> Any:
        enhancer.people = people
        self.enhancers.append(enhancer)
        return enhancer

    async def stats(self, room: str = "r") -> dict[str, Any]:
        return (await self.http.get(f"/api/rooms/{room}")).json()["participants"]

    def total(self, metric: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        samples = (sample for family in self.metrics.registry.collect() for sample in family.samples)
        return sum(s.value for s in samples if s.name == metric and labels.items() <= s.labels.items())

    @asynccontextmanager
    async def events(self, room: str = "r") -> AsyncIterator[list[tuple[float, str, dict[str, Any]]]]:
        """(time, name, data) of the room's events, as they come."""
        got: list[tuple[float, str, dict[str, Any]]] = []
        opened = asyncio.Event()

        async def listen() -> None:
            async with self.http.stream("GET", f"/api/rooms/{room}/events") as response:
                opened.set()
                name = ""
                async for line in response.aiter_lines():
                    if line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        got.append((time.monotonic(), name, json.loads(line[5:])))

        task = asyncio.create_task(listen())
        await asyncio.wait_for(opened.wait(), 10)
        try:
            yield got
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, httpx.HTTPError):
                await task


@asynccontextmanager
async def serving(make: Callable[[], FakeEnhancer] = FakeEnhancer, **settings: Any) -> AsyncIterator[Relay]:
    relay = Relay(make, **settings)
    app = FastAPI()
    access = load_access(relay.settings)
    app.state.relay = SimpleNamespace(
        settings=relay.settings, access=access, metrics=relay.metrics, rooms=relay.rooms
    )  # fmt: skip
    problems.install(app)
    app.include_router(router)
    app.include_router(check_router)
    app.include_router(streams_router)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as relay.http:
        try:
            yield relay
        finally:
            await asyncio.gather(*(peer.close() for peer in relay.peers))
            await relay.rooms.close()
            server.should_exit = server.force_exit = True
            await serving


async def until(condition: Callable[[], Any], seconds: float = 15, what: str = "the condition") -> float:
    """Waits for it; the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - started
