"""One call through a relay: a scene published by WHIP, views of it watched by WHEP, by aiortc on loopback."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from uuid import uuid4

import av
import httpx
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av.stream import Stream as PacketStream

from hime_core.arrays import Array
from hime_core.compositing.layout import Layout, View
from hime_core.faces.geometry import Headshot
from hime_core.video.picture import Picture
from server.proof.numbers import number_in
from server.proof.scene import Scene, cut, moved
from server.proof.stream import CLOCK_RATE, Stream

CONNECTED_WITHIN = 20.0  # seconds
TAIL = 1.0  # seconds that the last frame may be on its way
MARGIN = 16  # pixels
VOTES = 3  # frames that must agree on how a watcher's timestamps lie to the numbers
OUTCOMES = ("enhanced", "carried", "passed", "dropped")


class CallFailed(RuntimeError):
    """A call did not come about or showed nothing; the message says why. It may do so another time."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face as it was watched, uint8 (256, 256, 3). now: where it is in this frame; next: the same frame, cut where
    the face will be in the next one, None where nothing is known of that."""

    now: Array
    next: Array | None


@dataclass(frozen=True, eq=False)
class Watched:
    """faces: by view and frame number; outcomes: of the frames that were measured, as the relay counted them, and
    bypasses by reason; bank: exemplars in the end."""

    faces: dict[View, dict[int, Face]]
    outcomes: dict[str, int]
    bypasses: dict[str, int]
    bank: int


def call(url: str, scene: Scene, stream: Stream, codec: str, views: Sequence[View], layout: Layout) -> Watched:
    """Sends the scene once, in real time. Raises CallFailed."""
    return asyncio.run(_call(url, scene, stream, codec, views, layout))


async def _call(url: str, scene: Scene, stream: Stream, codec: str, views: Sequence[View], layout: Layout) -> Watched:
    track, name = _Packets(stream), uuid4().hex  # nobody's exemplars of an earlier call are to be found again
    publisher, watchers = _Peer(name), {view: _Watcher(name, scene, stream) for view in views}
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
        try:
            await publisher.publish(http, track, codec)
            for view, watcher in watchers.items():
                await watcher.watch(http, f"view={view}&layout={layout}")
            for peer in (publisher, *watchers.values()):
                await peer.connected()
            track.start.set()
            await track.reached(scene.first)
            before = await _counts(http, name)
            await track.reached(scene.end)
            await asyncio.sleep(TAIL)
            after = await _counts(http, name)
            bank = (await http.get(f"/api/rooms/{name}/{name}/bank")).json()["exemplars"]
        except (httpx.HTTPError, KeyError, TimeoutError) as error:
            raise CallFailed(f"the call broke off: {type(error).__name__} {error}".strip()) from error
        finally:
            for peer in (*watchers.values(), publisher):
                await peer.close(http)
    outcomes, bypasses = ({name: now[name] - was[name] for name in now} for was, now in zip(before, after, strict=True))
    faces = {view: watcher.faces() for view, watcher in watchers.items()}
    return Watched(faces, outcomes, {name: count for name, count in bypasses.items() if count}, len(bank))


async def _counts(http: httpx.AsyncClient, name: str) -> tuple[Counter[str], Counter[str]]:
    """Outcomes of the stream's frames, and the relay's bypasses by reason: it has no other stream."""
    stats = (await http.get(f"/api/rooms/{name}")).json()["participants"][name]
    bypasses: Counter[str] = Counter()
    for line in (await http.get("/metrics")).text.splitlines():
        if line.startswith("hime_bypass_total{"):
            reason, _, count = line.partition('reason="')[2].partition('"} ')
            bypasses[reason] = int(float(count))
    return Counter({name: stats["outcomes"][name] for name in OUTCOMES}), bypasses


class _Packets(MediaStreamTrack):
    """Sends a stream's packets at its rate once `start` is set; one that is late delays those after it, as a camera
    does. Waits after the last one."""

    kind = "video"

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.start = asyncio.Event()
        self._stream, self._number = stream, 0
        self._began = 0.0

    async def recv(self) -> av.Packet[PacketStream]:  # aiortc packs whatever is not a raw frame
        await self.start.wait()
        interval = 1 / self._stream.fps
        while True:
            number = self._number
            if self.readyState != "live":
                raise MediaStreamError
            if number >= len(self._stream.packets):
                await asyncio.sleep(0.1)
                continue
            now = time.monotonic()
            self._began = max(self._began or now, now - (number + 1) * interval)
            await asyncio.sleep(max(0.0, self._began + number * interval - now))
            self._number += 1
            if data := self._stream.packets[number]:
                packet = av.Packet(data)
                packet.pts, packet.time_base = self._stream.pts(number), Fraction(1, CLOCK_RATE)
                return packet

    async def reached(self, number: int) -> None:
        """Until that many frames have been sent. Raises TimeoutError."""
        async with asyncio.timeout(3 * number / self._stream.fps + CONNECTED_WITHIN):
            while self._number < number:
                await asyncio.sleep(0.02)


class _Peer:
    """One connection to the relay. name: of the room, and of who is to be seen in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._location = ""

    async def publish(self, http: httpx.AsyncClient, track: MediaStreamTrack, codec: str) -> None:
        transceiver = self._pc.addTransceiver(track, "sendonly")
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None  # it is for audio and video
        transceiver.setCodecPreferences([one for one in known.codecs if one.name in (codec, "rtx")])
        await self._negotiate(http, f"/whip/{self._name}/{self._name}")

    async def _negotiate(self, http: httpx.AsyncClient, path: str) -> None:
        await self._pc.setLocalDescription(await self._pc.createOffer())
        headers = {"Content-Type": "application/sdp"}
        answer = await http.post(path, content=self._pc.localDescription.sdp, headers=headers)
        if answer.status_code != 201:
            raise CallFailed(f"{path}: {answer.status_code} {answer.text}")
        self._location = answer.headers["location"]
        await self._pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    async def connected(self) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(CONNECTED_WITHIN):
            while self._pc.connectionState != "connected":
                await asyncio.sleep(0.02)

    async def close(self, http: httpx.AsyncClient) -> None:
        if self._location:
            with suppress(httpx.HTTPError):
                await http.delete(self._location)
        await self._pc.close()


class _Watcher(_Peer):
    """Keeps what a view shows around the faces that are to be measured. Frames are told by their timestamps, whose
    offset the numbers in the first ones give."""

    def __init__(self, name: str, scene: Scene, stream: Stream) -> None:
        super().__init__(name)
        self._scene, self._stream = scene, stream
        self._offsets: Counter[int] = Counter()  # votes of the first frames
        self._kept: dict[int, _Kept] = {}
        self._reader: asyncio.Task[None] | None = None

    async def watch(self, http: httpx.AsyncClient, query: str) -> None:
        self._pc.on("track", self._on_track)
        self._pc.addTransceiver("video", "recvonly")
        await self._negotiate(http, f"/whep/{self._name}/{self._name}?{query}")

    def faces(self) -> dict[int, Face]:
        """Raises CallFailed where frames could not be told from each other."""
        if not self._offsets or self._offsets.most_common(1)[0][1] < VOTES:
            raise CallFailed("hardly any of the numbered frames at the beginning of the call arrived")
        found = {}
        for number, kept in self._kept.items():
            now, after = self._scene.face(number), self._scene.face(number + 1)
            if now is not None:
                found[number] = Face(kept.cut(now), kept.cut(after) if after else None)
        return found

    async def close(self, http: httpx.AsyncClient) -> None:
        await super().close(http)
        if self._reader is not None:
            self._reader.cancel()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._reader = asyncio.create_task(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if isinstance(frame, av.VideoFrame) and frame.pts is not None:
                    self._receive(frame, frame.pts)

    def _receive(self, frame: av.VideoFrame, pts: int) -> None:
        picture = Picture.from_frame(frame)
        if self._offsets.total() < self._scene.lead:
            self._offsets[pts - self._stream.pts(number_in(picture.y))] += 1
            return
        ((offset, _),) = self._offsets.most_common(1)
        number = self._stream.number(pts - offset)
        faces = [face for face in (self._scene.face(number), self._scene.face(number + 1)) if face is not None]
        if faces and self._scene.face(number) is not None:
            self._kept[number] = _keep(picture, picture.width / self._scene.geometry.width, faces)


@dataclass(frozen=True, eq=False)
class _Kept:
    """Part of a watched frame, RGB, from (left, top) on; scale: its pixels for one of the frame that was sent. Faces
    are cut from it when the call is over: while it lasts, the relay needs the processor."""

    rgb: Array
    left: int
    top: int
    scale: float

    def cut(self, headshot: Headshot) -> Array:
        return cut(self.rgb, moved(headshot, self.scale, self.left, self.top))


def _keep(picture: Picture, scale: float, faces: Sequence[Headshot]) -> _Kept:
    """What shows the faces; a little more, as resampling looks past what it cuts."""
    placed = [moved(face, scale) for face in faces]
    left, top = (max(0, int(min(getattr(f, c) - f.side / 2 for f in placed)) - MARGIN) for c in ("cx", "cy"))
    right, bottom = (max(0, int(max(getattr(f, c) + f.side / 2 for f in placed)) + MARGIN) for c in ("cx", "cy"))
    return _Kept(picture.rgb()[top:bottom, left:right].copy(), left, top, scale)
