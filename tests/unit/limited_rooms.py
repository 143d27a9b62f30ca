"""A relay with limits, served in this process, and offers for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection
from fastapi import FastAPI

from benchmarks.shared.peers import FakeEnhancer
from server import problems
from server.access.access import load_access
from server.observability.metrics import Metrics
from server.rooms.rooms import Rooms
from server.rooms.routes import router
from server.settings import Settings

SDP = {"content-type": "application/sdp"}


async def offered(direction: str, *kinds: str) -> str:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        pc.addTransceiver(kind, direction)
    await pc.setLocalDescription(await pc.createOffer())
    sdp = pc.localDescription.sdp
    await pc.close()
    return sdp


class Relay:
    def __init__(self, clock: Any, **settings: Any) -> None:
        self.metrics = Metrics()
        self.settings = Settings(_env_file=None, **{"open": True} | settings)
        options = {"clock": clock} if clock else {}
        self.rooms = Rooms(self.settings, self.metrics, enhancer_factory=lambda people: FakeEnhancer(), **options)
        self.places = self.rooms.limits.admission
        self.http: httpx.AsyncClient

    async def publish(self, room: str, name: str, sdp: str) -> httpx.Response:
        return await self.http.post(f"/whip/{room}/{name}", content=sdp, headers=SDP)

    async def watch(self, room: str, name: str, sdp: str) -> httpx.Response:
        return await self.http.post(f"/whep/{room}/{name}", content=sdp, headers=SDP)

    def refused(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("hime_refused_total", {"reason": reason}) or 0.0

    async def settle(self) -> None:
        """Until whoever leaves has left."""
        for room in list(self.rooms._rooms.values()):
            await room._leaving.ended()
        for _ in range(10):  # sessions whose request was given up while they were closed
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(clock: Any = None, **settings: Any) -> AsyncIterator[Relay]:
    relay, app = Relay(clock, **settings), FastAPI()
    app.state.relay = SimpleNamespace(
        settings=relay.settings, access=load_access(relay.settings), metrics=relay.metrics, rooms=relay.rooms
    )
    problems.install(app)
    app.include_router(router)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as relay.http:
        yield relay
        await relay.rooms.close()
    assert (relay.places.participants.taken, relay.places.streams.taken, relay.places.watchers.taken) == (0, 0, 0)


def is_problem(answer: httpx.Response, status: int, says: str) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    if status == 503:
        assert int(answer.headers["retry-after"]) > 0
    return True


def candidates(number: int, start: int = 0) -> str:
    lines = (
        f"a=candidate:{n} 1 udp 2113937151 192.0.2.{9 + n % 200} {5000 + n} typ host\r\n" for n in range(start, number)
    )
    return "".join(lines)
