"""What a stranger can try on a relay that runs a call: each of it is refused, and the call does not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from benchmarks.shared.peers import MovingVideo, Peer, Tone, until
from tests.media.relay_process import RelayProcess, relay_process
from tests.unit.access_world import bearer, token, write_keys
from tests.unit.limited_rooms import candidates
from tests.unit.relay_fakes import portrait
from tests.unit.test_negotiation import offer, section

SDP = {"Content-Type": "application/sdp"}
TURN = "turn:turn.example:3478"


@asynccontextmanager
async def as_one(relay: RelayProcess, name: str, room: str, **rights: object) -> AsyncIterator[httpx.AsyncClient]:
    shown = bearer(token(name, room, **rights)) if name else {}
    async with httpx.AsyncClient(base_url=relay.http.base_url, timeout=20, headers=shown) as http:
        yield http


@pytest.mark.timeout(240)
async def test_every_call_of_a_stranger_is_refused_and_the_running_call_does_not_notice(tmp_path: Path) -> None:
    environment = {
        "HIME_API_KEYS_FILE": write_keys(tmp_path / "keys"),
        "HIME_ICE_SERVERS": TURN,
        "HIME_TURN_SECRET": "coturn's secret",
        "HIME_MAX_LISTENERS_PER_ROOM": "2",
    }
    async with relay_process(tmp_path / "data", **environment) as relay, AsyncExitStack() as stack:
        ann = await stack.enter_async_context(as_one(relay, "ann", "r", publish=True, watch=True))
        nobody = await stack.enter_async_context(as_one(relay, "", ""))
        other = await stack.enter_async_context(as_one(relay, "eve", "elsewhere", publish=True, watch=True))
        # Eve was let into the room as well, and goes too far there.
        inside = await stack.enter_async_context(as_one(relay, "eve", "r", publish=True, watch=True))

        publisher, watcher = Peer(ann), Peer(ann)
        stack.push_async_callback(publisher.close)
        stack.push_async_callback(watcher.close)
        photo = {"photos": ("me.jpg", portrait(), "image/jpeg")}
        await publisher.publish("/whip/r/ann", MovingVideo(fps=10), Tone())
        await until(lambda: publisher.pc.connectionState == "connected")
        await watcher.watch("/whep/r/ann?layout=native&view=original")
        await until(lambda: len(watcher.frames) > 5)
        begun = len(watcher.frames)

        tried = []

        async def refused(http: httpx.AsyncClient, status: int, method: str, path: str, **how: object) -> None:
            answer = await http.request(method, path, **how)
            assert answer.status_code == status, (method, path, answer.status_code, answer.text)
            assert (
                answer.headers["content-type"] == "application/problem+json" and "traceback" not in answer.text.lower()
            )
            assert TURN not in answer.headers.get("link", "")  # nor credentials for it
            tried.append(path)

        video = offer(section())
        for http, status in ((nobody, 401), (other, 403), (inside, 403)):
            await refused(http, status, "POST", "/whip/r/ann", content=video, headers=SDP)  # ends nobody's call
            await refused(http, status, "GET", "/api/people/ann/exemplars")
            await refused(http, status, "POST", "/api/people/ann/exemplars", files=photo, data={"consent": "true"})
            await refused(http, status, "DELETE", "/api/people/ann")
            await refused(http, status, "GET", "/api/rooms/r/ann/bank")
            await refused(http, status, "DELETE", publisher.location)
            await refused(http, status, "DELETE", watcher.location)
            await refused(http, status, "PATCH", publisher.location, content="", headers={
                "Content-Type": "application/trickle-ice-sdpfrag"
            })  # fmt: skip
            await refused(http, status, "POST", "/api/tokens", json={"room": "r", "participant": "ann"})
        for http, status in ((nobody, 401), (other, 403)):
            await refused(http, status, "POST", "/whep/r/ann", content=video, headers=SDP)
            await refused(http, status, "GET", "/api/rooms/r")
            await refused(http, status, "GET", "/api/rooms/r/events")
        await refused(nobody, 401, "GET", "/metrics")
        await refused(nobody, 401, "GET", "/api/stats")
        # With somebody else's photos, under one's own name; and as another site's page, or under another name of it.
        await refused(inside, 403, "POST", "/whip/r/eve?person=ann", content=video, headers=SDP)
        foreign = {"Origin": "https://elsewhere.example"}
        await refused(
            ann, 403, "POST", "/api/people/ann/exemplars", files=photo, data={"consent": "true"}, headers=foreign
        )
        await refused(ann, 421, "GET", "/api/rooms/r", headers={"Host": "rebound.example"})
        # What is too much, of those who are let in.
        await refused(inside, 413, "POST", "/whip/r/eve", content=video + "a=x\r\n" * 30_000, headers=SDP)
        await refused(inside, 429, "POST", "/whip/r/eve", content=video + candidates(200), headers=SDP)
        await refused(inside, 400, "POST", "/api/people/eve/exemplars", files=photo, data={"consent": "no"})
        listening = [await stack.enter_async_context(inside.stream("GET", "/api/rooms/r/events")) for _ in range(2)]
        assert {one.status_code for one in listening} == {200}
        await refused(inside, 503, "GET", "/api/rooms/r/events")
        assert len(tried) > 40

        start = len(watcher.frames)
        await until(lambda: len(watcher.frames) >= start + 20)
        numbers = [frame.number for frame in watcher.frames[begun:]]
        assert all(1 <= after - before < 10 for before, after in pairwise(numbers)), numbers
        assert not watcher.ended and watcher.pc.connectionState == publisher.pc.connectionState == "connected"
        assert (await ann.get("/api/people/ann/exemplars")).json()["exemplars"] == []
        assert (await ann.get("/api/rooms/r")).json()["participants"].keys() == {"ann"}
