"""Publishers and watchers that cost next to nothing: they replay encoded frames and note packets, in a process of
their own, over aiortc's transports. Sender and watcher share the machine's monotonic clock."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import av
import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription

from benchmarks.shared.portrait import number_of
from benchmarks.shared.replay import Clip, Replay
from hime_core.video.picture import Picture
from server.client.load.light import JITTER_BUFFER, offer_only
from server.media.receive.payload import payload_info
from server.media.send.encoder import Codec


class Arrival(NamedTuple):
    """One RTP packet; number: sequence number; time: clock seconds."""

    number: int
    timestamp: int
    marker: bool
    size: int
    time: float


@dataclass(frozen=True)
class Watched:
    """indices: what keyframes show, by RTP timestamp."""

    arrivals: list[Arrival]
    indices: dict[int, int]

    def frames(self) -> dict[int, float]:
        """When each frame was whole, by RTP timestamp: all packets from the one after a marker to the next marker."""
        packets: dict[int, Arrival] = {}
        last = None
        for arrival in self.arrivals:
            number = arrival.number if last is None else last + (arrival.number - last + 0x8000) % 0x10000 - 0x8000
            last = number if last is None else max(last, number)
            packets.setdefault(number, arrival)
        whole: dict[int, float] = {}
        ready, due = 0.0, min(packets, default=0)
        for number in sorted(packets):
            arrival = packets[number]
            if number != due:  # packets are missing: the frame that they belong to is not whole
                ready = float("inf")
            ready, due = max(ready, arrival.time), number + 1
            if arrival.marker:
                if ready < float("inf"):
                    whole[arrival.timestamp] = ready
                ready = 0.0
        return whole

    def size(self, begin: float, end: float) -> int:
        """Bytes of payload that came between two times."""
        return sum(arrival.size for arrival in self.arrivals if begin <= arrival.time < end)


class _Packets:
    """In the place of a receiver's jitter buffer: notes what comes, and hands nothing on to the decoder."""

    def __init__(self, codec: str) -> None:
        self.arrivals: list[Arrival] = []
        self._codec = codec
        self._keyframes: dict[int, dict[int, bytes]] = {}

    def add(self, packet: Any) -> tuple[bool, None]:
        size, timestamp = len(packet.payload), packet.timestamp
        self.arrivals.append(Arrival(packet.sequence_number, timestamp, bool(packet.marker), size, time.monotonic()))
        if payload_info(self._codec, packet.payload).intra:
            self._keyframes.setdefault(timestamp, {})
        if timestamp in self._keyframes:
            self._keyframes[timestamp][packet.sequence_number] = packet._data
        return False, None

    def watched(self) -> Watched:
        whole = Watched(self.arrivals, {}).frames()
        indices = {}
        for timestamp, parts in self._keyframes.items():
            if timestamp in whole and self._codec == "VP8":
                data = b"".join(parts[number] for number in _in_order(parts))
                for frame in av.CodecContext.create("vp8", "r").decode(av.Packet(data)):
                    indices[timestamp] = number_of(Picture.from_frame(frame))
        return Watched(list(self.arrivals), indices)


def _in_order(numbers: Iterable[int]) -> list[int]:
    """Sequence numbers of one frame, which may go past 65535."""
    first = next(iter(numbers))
    return sorted(numbers, key=lambda number: (number - first + 0x8000) % 0x10000)


def latencies(clip: Clip, sent: list[float], watched: Watched, begin: float, end: float) -> list[float | None]:
    """Seconds from leaving the publisher to being whole at the watcher, of each frame that left between two times; None
    where it never was. RuntimeError where the RTP timestamps of both are not a constant apart."""
    whole = watched.frames()
    offsets = set()
    for timestamp, index in watched.indices.items():
        before = (n for n in range(len(sent) - 1, -1, -1) if sent[n] < whole[timestamp] and clip.index(n) == index)
        offsets.add((timestamp - clip.pts(next(before, 0))) % 2**32)
    if len(offsets) != 1:
        raise RuntimeError(f"{len(watched.indices)} keyframes give {len(offsets)} offsets of RTP timestamps, not one")
    (offset,) = offsets
    numbers = [number for number, left in enumerate(sent) if begin <= left < end]
    arrived = [whole.get((offset + clip.pts(number)) % 2**32) for number in numbers]
    return [None if at is None else at - sent[number] for number, at in zip(numbers, arrived, strict=True)]


@dataclass
class Peers:
    """What a light process does, by the calls of `LightProcess`. key: the caller's name for a peer."""

    clips: Mapping[str, Clip]
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30))
    peers: dict[str, RTCPeerConnection] = field(default_factory=dict)
    sources: dict[str, Replay] = field(default_factory=dict)
    sinks: dict[str, _Packets] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    async def publish(self, key: str, url: str, path: str, clip: str) -> None:
        await self.accept(key, await self._post(key, url, path, await self.offer(key, clip)))

    async def watch(self, key: str, url: str, path: str, codec: Codec = "VP8", patience: float = 60) -> None:
        """Waits until the participant is there."""
        pc = self._peer(key)
        transceiver = pc.addTransceiver("video", "recvonly")
        offer_only(transceiver, codec)
        self._count(key, transceiver.receiver, codec)
        await pc.setLocalDescription(await pc.createOffer())
        await self.accept(key, await self._post(key, url, path, pc.localDescription.sdp, patience))

    async def offer(self, key: str, clip: str) -> str:
        """A publisher's offer, for whoever is to answer it without a relay."""
        pc = self._peer(key)
        self.sources[key] = Replay(self.clips[clip])
        offer_only(pc.addTransceiver(self.sources[key], "sendonly"), "VP8")
        await pc.setLocalDescription(await pc.createOffer())
        return pc.localDescription.sdp

    async def answer(self, key: str, sdp: str) -> str:
        """A watcher's answer to a publisher's offer."""
        pc = self._peer(key)
        await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        self._count(key, pc.getTransceivers()[0].receiver, "VP8")
        await pc.setLocalDescription(await pc.createAnswer())
        return pc.localDescription.sdp

    async def accept(self, key: str, sdp: str) -> None:
        await self.peers[key].setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def sent(self, key: str) -> list[float]:
        return list(self.sources[key].sent)

    async def watched(self, key: str) -> Watched:
        return self.sinks[key].watched()

    async def ask_keyframe(self, key: str) -> None:
        receiver = self.peers[key].getTransceivers()[0].receiver
        for ssrc in {source.source for source in receiver.getSynchronizationSources()}:
            await receiver._send_rtcp_pli(ssrc)

    async def leave(self, key: str) -> None:
        if place := self.places.pop(key, None):
            await self.http.delete(place)
        await self.peers.pop(key).close()
        self.sources.pop(key, None)
        self.sinks.pop(key, None)

    def _peer(self, key: str) -> RTCPeerConnection:
        self.peers[key] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        return self.peers[key]

    def _count(self, key: str, receiver: RTCRtpReceiver, codec: str) -> None:
        self.sinks[key] = _Packets(codec)
        setattr(receiver, JITTER_BUFFER, self.sinks[key])

    async def _post(self, key: str, url: str, path: str, sdp: str, patience: float = 0) -> str:
        end = time.monotonic() + patience
        while True:
            answer = await self.http.post(url + path, content=sdp, headers={"Content-Type": "application/sdp"})
            if answer.status_code != 404 or time.monotonic() > end:
                break
            await asyncio.sleep(0.2)
        if answer.status_code != 201:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        self.places[key] = url + answer.headers["location"]
        return answer.text


def _serve(connection: Any, clips: Mapping[str, Clip]) -> None:
    async def run() -> None:
        peers = Peers(clips)
        while call := await asyncio.to_thread(connection.recv):
            name, args, options = call
            try:
                connection.send((await getattr(peers, name)(*args, **options), None))
            except Exception as error:
                connection.send((None, f"{type(error).__name__}: {error}"))
        await asyncio.gather(*(peer.close() for peer in peers.peers.values()))  # or the loop ends before their tasks
        await peers.http.aclose()

    asyncio.run(run())


class LightProcess:
    """A process of `Peers`. call() waits for the answer; RuntimeError says what went wrong there."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, clips), daemon=True)

    def __enter__(self) -> LightProcess:
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.send(None)
        self._process.join(5)
        self._process.kill()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        self._connection.send((name, args, options))
        result, error = self._connection.recv()
        if error:
            raise RuntimeError(error)
        return result
