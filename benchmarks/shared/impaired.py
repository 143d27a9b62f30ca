"""A call whose publisher is behind a forwarder, and what is measured of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import httpx
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from benchmarks.shared.forwarder import Forwarder, payload_types
from benchmarks.shared.peers import Peer, Shown, number_of
from server.media.receive.freezes import Freezes

NEAR = 0.01  # seconds above the latency before, within which it is the same again


class ImpairedPeer(Peer):
    """A client that reaches the relay through the forwarder only."""

    def __init__(self, http: httpx.AsyncClient, forwarder: Forwarder) -> None:
        super().__init__(http)
        self.forwarder = forwarder
        self.video: frozenset[int] = frozenset()  # payload types of the media, and of their retransmissions
        self.repairs: frozenset[int] = frozenset()

    async def _negotiate(self, path: str) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.pc.localDescription.sdp
        self.video, self.repairs = payload_types(offer, "VP8"), payload_types(offer, "rtx")
        response = await self.http.post(
            path, content=self.forwarder.offer(offer), headers={"Content-Type": "application/sdp"}
        )
        assert response.status_code == 201, response.text
        self.location = response.headers["location"]
        answer = self.forwarder.answer(response.text)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))


class PlainReceiver:
    """A peer of aiortc's own, straight at the other end of the forwarder, that reads frames as they come."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        self.frames: list[Shown] = []
        self.publisher, self.pc = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
        self._reader: asyncio.Task[None] | None = None
        self.video: frozenset[int] = frozenset()
        self.repairs: frozenset[int] = frozenset()

    async def connect(self, track: MediaStreamTrack) -> PlainReceiver:
        self.publisher.addTrack(track)
        await self.publisher.setLocalDescription(await self.publisher.createOffer())
        offer = self.publisher.localDescription.sdp
        self.video, self.repairs = payload_types(offer, "VP8"), payload_types(offer, "rtx")
        self.pc.on("track", self._read)
        await self.pc.setRemoteDescription(RTCSessionDescription(self.forwarder.offer(offer), "offer"))
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        answer = self.forwarder.answer(self.pc.localDescription.sdp)
        await self.publisher.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return self

    def _read(self, track: MediaStreamTrack) -> None:
        async def read() -> None:
            with suppress(MediaStreamError):
                while True:
                    frame = await track.recv()
                    now = asyncio.get_running_loop().time()
                    self.frames.append(Shown(now, number_of(frame), frame.pts, (frame.width, frame.height)))

        self._reader = asyncio.create_task(read())

    async def close(self) -> None:
        await asyncio.gather(self.publisher.close(), self.pc.close())
        if self._reader is not None:
            self._reader.cancel()


@dataclass(frozen=True)
class Phases:
    """When the path became bad, when it was good again, and the end, clock seconds."""

    bad: float
    good: float
    end: float


@dataclass(frozen=True)
class Outcome:
    """Milliseconds, but for the counts. Latencies are from the frame given to the publisher's encoder to the watcher.

    freezes: W3C's, of frames shown from when the path became bad; per_minute: of the time that it was bad.
    recovered: from when the path was good again until ten frames in a row are as young as before, None if never.
    """

    before: float
    during: float
    during_p95: float
    after: float
    freezes: int
    per_minute: float
    longest: float
    recovered: float | None
    shown: int
    sent: int

    def json(self) -> dict[str, Any]:
        return asdict(self)


def outcome(sent: dict[int, float], shown: Sequence[Shown], phases: Phases) -> Outcome:
    """sent: when each frame went to the encoder, by its number."""
    frames = [(one.time, one.time - sent[one.number]) for one in shown if one.number in sent and one.time < phases.end]
    before = [latency for time, latency in frames if time < phases.bad]
    during = [latency for time, latency in frames if phases.bad <= time < phases.good]
    later = [(time, latency) for time, latency in frames if time >= phases.good]
    after = [latency for time, latency in later if time >= (phases.good + phases.end) / 2]
    normal = median(before)
    freezes, longest, last = Freezes(), 0.0, None
    for time, _ in frames:
        freezes.add(time)
        if time < phases.bad:
            freezes.count = 0
        elif last is not None:
            longest = max(longest, time - last)
        last = time
    longest = max(longest, phases.end - last)  # a picture that never came back
    recovered = next(
        (
            max(0.0, later[i][0] - phases.good)
            for i in range(len(later) - 9)
            if median(latency for _, latency in later[i : i + 10]) <= normal + NEAR
        ),
        None,
    )
    return Outcome(
        before=1000 * normal,
        during=1000 * median(during or [float("nan")]),
        during_p95=1000 * sorted(during)[int(0.95 * len(during))] if during else float("nan"),
        after=1000 * median(after or [float("inf")]),
        freezes=freezes.count,
        per_minute=60 * freezes.count / max(phases.good - phases.bad, 1e-3),
        longest=1000 * longest,
        recovered=None if recovered is None else 1000 * recovered,
        shown=sum(time >= phases.bad for time, _ in frames),
        sent=sum(phases.bad <= time < phases.end for time in sent.values()),
    )
