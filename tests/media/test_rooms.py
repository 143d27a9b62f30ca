"""Who is there: joining, leaving, being replaced, getting lost, and requests that make no sense."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from benchmarks.shared.peers import MovingVideo, Peer, Tone, serving, until

Events = list[tuple[float, str, dict[str, Any]]]


def named(events: Events, name: str, participant: str) -> list[float]:
    """When these events of the participant came."""
    return [at for at, event, data in events if event == name and data.get("participant") == participant]


async def test_joining_and_an_orderly_leave_show_at_once() -> None:
    async with serving() as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: named(events, "joined", "ann"))
        await until(lambda: any(name == "stats" and "ann" in data["participants"] for _, name, data in events))
        async with relay.events() as later:
            await until(lambda: named(later, "joined", "ann"), what="joined for one who came later")
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: watcher.frames)
        left_at = time.monotonic()
        assert (await publisher.leave()).status_code == 200
        await until(lambda: named(events, "left", "ann"))
        assert named(events, "left", "ann")[0] - left_at < 1
        await until(lambda: "video" in watcher.ended and watcher.pc.connectionState == "closed")
        assert await relay.stats() == {}
        assert (await relay.http.delete(publisher.location)).status_code == 404
        assert len(named(events, "joined", "ann")) == len(named(events, "left", "ann")) == 1


async def test_closing_the_connection_without_a_word_over_http_is_a_leave_too() -> None:
    async with serving() as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: named(events, "joined", "ann"))
        left_at = time.monotonic()
        await publisher.pc.close()
        await until(lambda: named(events, "left", "ann"))
        assert named(events, "left", "ann")[0] - left_at < 1


async def test_a_lost_network_shows_within_six_seconds() -> None:
    async with serving() as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        await relay.peer().publish("/whip/r/bob", MovingVideo(fps=5))
        await until(lambda: named(events, "joined", "ann") and named(events, "joined", "bob"))
        watcher = await relay.peer().watch("/whep/r/bob", ("video",))
        await until(lambda: watcher.frames)
        bob = relay.rooms.get("r").participants["bob"]
        assert len(bob.watchers) == 1
        cut_at = time.monotonic()
        publisher.cut()
        watcher.cut()
        await until(lambda: named(events, "reconnecting", "ann"), 8)
        await until(lambda: not bob.watchers, 8)
        assert time.monotonic() - cut_at < 6.5
        assert not named(events, "left", "ann") and not named(events, "left", "bob")
        assert not named(events, "reconnecting", "bob")
        await until(lambda: relay.total("hime_streams", direction="out") == 0)
        assert relay.total("hime_streams", direction="in") == 1


async def test_a_watcher_who_only_answers_checks_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.media.session.PEER_TIMEOUT", 3.0)
    monkeypatch.setattr("server.media.session.SILENCE", 0.5)
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 60)

    async def say_nothing(packet: object) -> None: ...

    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: watcher.frames)
        watcher.pc.getReceivers()[0]._send_rtcp = say_nothing
        ann = relay.rooms.get("r").participants["ann"]
        await asyncio.sleep(5)
        assert len(ann.watchers) == 1
        watcher.cut()
        await until(lambda: not ann.watchers, 6)


async def test_closing_the_relay_ends_running_calls() -> None:
    async with serving() as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann")
        await until(lambda: watcher.frames)
        await relay.rooms.close()
        assert relay.enhancers[0].closed
        await until(lambda: publisher.pc.connectionState == watcher.pc.connectionState == "closed")
        await until(lambda: named(events, "left", "ann"))


async def test_a_second_publisher_of_a_name_replaces_the_first_for_who_watches_and_who_comes() -> None:
    async with serving() as relay, relay.events() as events:
        first = await relay.peer().publish("/whip/r/ann", MovingVideo(320, 180))
        watcher = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: watcher.frames)
        second = await relay.peer().publish("/whip/r/ann", MovingVideo(240, 136))
        await until(lambda: first.pc.connectionState == "closed")
        await until(lambda: len(named(events, "joined", "ann")) == 2)
        assert not named(events, "left", "ann")
        await until(lambda: watcher.frames[-1].size == (240, 136))
        again = await relay.peer().watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: again.frames)
        assert again.frames[-1].size == (240, 136)
        assert (await relay.http.delete(first.location)).status_code == 404
        assert (await second.leave()).status_code == 200


async def test_a_watcher_who_leaves_is_forgotten() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann")
        await until(lambda: watcher.frames)
        ann = relay.rooms.get("r").participants["ann"]
        assert relay.total("hime_streams", direction="out") == 1
        assert (await watcher.leave()).status_code == 200
        assert not ann.watchers
        await until(lambda: not ann.video.views.watched and not ann.audio._tracks)
        assert relay.total("hime_streams", direction="out") == 0
        assert (await relay.http.delete(watcher.location)).status_code == 404


async def test_candidates_are_taken_by_patch() -> None:
    fragment = "a=ice-ufrag:{}\r\na=ice-pwd:short\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
    candidate = "a=candidate:1 1 udp 2130706431 192.0.2.77 50000 typ host\r\na=end-of-candidates\r\n"
    async with serving() as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo())
        lines = publisher.pc.localDescription.sdp.splitlines()
        ufrag = next(line for line in lines if line.startswith("a=ice-ufrag:")).split(":")[1]

        async def patch(body: str, type: str = "application/trickle-ice-sdpfrag", at: str = "") -> httpx.Response:
            headers = {"Content-Type": type, "If-Match": "*"}
            return await relay.http.patch(at or publisher.location, content=body, headers=headers)

        assert (await patch(fragment.format(ufrag) + candidate)).status_code == 204
        assert (await patch(fragment.format("other") + candidate)).status_code == 422
        assert (await patch("a=candidate:1 1 udp\r\n")).status_code == 400
        assert (await patch("nothing of it")).status_code == 400
        assert (await patch(candidate, "text/plain")).status_code == 415
        assert (await patch(candidate, at="/whip/r/ann/unknown")).status_code == 404
        assert (await patch(candidate, at=publisher.location.replace("whip", "whep"))).status_code == 404


async def test_requests_that_make_no_sense_get_a_problem_and_the_call_goes_on() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: watcher.frames)
        sdp = watcher.pc.localDescription.sdp
        headless = "\r\n".join(line for line in sdp.splitlines() if not line.startswith("a=fingerprint")) + "\r\n"

        async def post(path: str, body: str | bytes = sdp, type: str = "application/sdp") -> int:
            response = await relay.http.post(path, content=body, headers={"Content-Type": type})
            assert response.headers["content-type"] == "application/problem+json", response.text
            assert response.json()["status"] == response.status_code and response.json()["detail"]
            return response.status_code

        assert await post("/whip/r/bob", "hello") == 400
        assert await post("/whip/r/bob", b"\xff\xfe") == 400
        assert await post("/whip/r/bob", "v=0\r\n") == 400
        assert await post("/whip/r/bob", "v=0\r\nm=video what\r\n") == 400
        assert await post("/whip/r/bob", sdp) == 400  # it only receives
        assert await post("/whep/r/ann", headless) == 400
        assert await post("/whep/r/ann", sdp.replace("VP8", "VP7").replace("H264", "H26X")) == 400
        assert (
            await post("/whip/r/bob", sdp.replace("recvonly", "sendonly").replace("VP8", "VP7").replace("H264", "H"))
            == 400
        )
        await until(lambda: relay.enhancers[-1].closed)
        assert await post("/whip/r/bob", sdp, "text/plain") == 415
        assert await post("/whip/r/bob", "v=0" + "x" * 300_000) == 413
        assert await post("/whep/r/nobody") == 404
        assert await post("/whep/elsewhere/ann") == 404
        assert await post("/whep/r/ann?view=sideways") == 400
        assert await post("/whep/r/ann?layout=round") == 400
        for width in ("0", "-1280", "wide", "12.5", "", "9" * 5000):
            assert await post(f"/whep/r/ann?width={width}") == 400, width
        assert await post("/whip/r/ann?person=no%20one") == 400
        assert await post("/whip/r/ann?person=fine&person=no%20one") == 400
        assert await post("/whip/r/ann?" + "&".join(f"person=p{n}" for n in range(9))) == 400
        assert await post("/whip/r/a%2Fb") == 400
        assert await post("/whip/r/a%20b") == 400
        assert await post(f"/whip/r/{'a' * 65}") == 400
        assert (await relay.http.get("/api/rooms/r%2Fs")).status_code == 400
        assert (await relay.http.get("/api/rooms/none")).json() == {"room": "none", "participants": {}}
        assert (await relay.http.get("/api/rooms/r/nobody/bank")).status_code == 404
        assert set(await relay.stats()) == {"ann"}
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 10)
        ann = relay.rooms.get("r").participants["ann"]
        assert len(ann.watchers) == len(ann.video.views.tracks) == len(ann.video.views.watched) == 1


@pytest.mark.parametrize("closed", [False, True])
async def test_one_who_never_connects_is_not_there(closed: bool) -> None:
    async with serving(connect_timeout_s=1.0) as relay:
        peer = Peer(relay.http)
        peer.pc.addTrack(MovingVideo())
        assert (await peer.offer("/whip/r/ghost")).status_code == 201
        if closed:
            await peer.pc.close()
        assert await relay.stats() == {}
        await until(lambda: not relay.rooms.get("r"))
        await until(lambda: relay.enhancers[0].closed)
        await peer.close()
