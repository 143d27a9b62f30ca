"""The relay in a thread of its own, and what a client of it sends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection
from fastapi import FastAPI

from server.access.access import load_access
from server.app import create_app
from server.settings import Settings
from server.workers.front import create_front
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine

SDP, FRAGMENT, PROBLEM = "application/sdp", "application/trickle-ice-sdpfrag", "application/problem+json"
_ROOMS = count(1)


@dataclass(frozen=True)
class Side:
    """One of the two protocols, as its client speaks it. direction: of what it offers; answered: of the answer."""

    name: str
    direction: str
    answered: str


WHIP, WHEP = Side("whip", "sendonly", "recvonly"), Side("whep", "recvonly", "sendonly")


@contextmanager
def serving(data: Path, **settings: Any) -> Iterator[str]:
    """A relay's URL. Only faces are made up; all that a client speaks to is the relay's own. With HIME_WORKERS=2, it is
    a front before two workers."""
    given = Settings(_env_file=None, data=data, client=data / "dist", **{"engine": "worker"} | settings)
    if given.workers > 1:
        app = create_front(given, load_access(given), "tests.media.quick_worker")
    else:
        app = create_app(given, FakeEngine(), FakeDetector(), ByColour())
    with running(app) as url:
        yield url


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serves an ASGI application on loopback."""
    lifespan = "on" if isinstance(app, FastAPI) else "off"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan=lifespan, timeout_graceful_shutdown=2))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


async def offer(direction: str, *kinds: str) -> str:
    """An offer as aiortc writes it, with no candidates as trickling clients send it. kinds: audio and video unless
    given."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds or ("audio", "video"):
        pc.addTransceiver(kind, direction)
    text = (await pc.createOffer()).sdp
    await pc.close()
    return text


async def post(http: httpx.AsyncClient, path: str, sdp: str, **headers: str) -> httpx.Response:
    return await http.post(path, content=sdp, headers={"Content-Type": SDP} | headers)


async def patch(http: httpx.AsyncClient, path: str, body: str, **headers: str) -> httpx.Response:
    return await http.patch(path, content=body, headers={"Content-Type": FRAGMENT} | headers)


async def endpoint(http: httpx.AsyncClient, side: Side, **headers: str) -> str:
    """The path of an endpoint that takes an offer: a free name's, or that of somebody who publishes."""
    path = f"room{next(_ROOMS)}/ann"
    if side is WHEP:
        answer = await post(http, f"/whip/{path}", await offer("sendonly"), **headers)
        assert answer.status_code == 201, answer.text
    return f"/{side.name}/{path}"


@dataclass(frozen=True)
class Begun:
    """A session that was made, and what made it."""

    created: httpx.Response
    sdp: str

    @property
    def path(self) -> str:
        return self.created.headers["location"]

    @property
    def tag(self) -> dict[str, str]:
        """If-Match for a PATCH."""
        return {"If-Match": self.created.headers["etag"]}


async def begin(http: httpx.AsyncClient, side: Side, **headers: str) -> Begun:
    sdp = await offer(side.direction)
    answer = await post(http, await endpoint(http, side, **headers), sdp, **headers)
    assert answer.status_code == 201, answer.text
    return Begun(answer, sdp)


def lines(sdp: str, name: str) -> list[str]:
    """The values of an attribute, in the order of the description."""
    return [line.partition(":")[2] for line in sdp.splitlines() if line.partition(":")[0] == f"a={name}"]


def sections(sdp: str) -> list[str]:
    """The media sections."""
    return ["m=" + part for part in sdp.replace("\r\n", "\n").split("\nm=")[1:]]


def is_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The problem body of an answer that is refused with one of the statuses."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code and body["title"] and body["detail"]
    return body
