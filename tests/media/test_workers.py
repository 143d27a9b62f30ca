"""Several worker processes behind one front: one relay to whoever uses it, and a death that others do not notice."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx

from benchmarks.shared.peers import MovingVideo, Peer, Tone, until
from tests.media.relay_process import RelayProcess, relay_process, worker_pids
from tests.unit.relay_fakes import portrait


async def participants(relay: RelayProcess, room: str = "r") -> set[str]:
    return set((await relay.http.get(f"/api/rooms/{room}")).json()["participants"])


async def there(relay: RelayProcess, *names: str, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while await participants(relay) != set(names):
            await asyncio.sleep(0.05)


async def two_calls(relay: RelayProcess) -> tuple[Peer, Peer, Peer, Peer]:
    """Ann on the first worker, Bob on the second, and one who watches each."""
    ann = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
    bob = await relay.peer().publish("/whip/r/bob", MovingVideo(), Tone())
    await there(relay, "ann", "bob")
    sees_ann, sees_bob = await relay.peer().watch("/whep/r/ann"), await relay.peer().watch("/whep/r/bob")
    await until(lambda: sees_ann.frames and sees_bob.frames)
    return ann, bob, sees_ann, sees_bob


class Page:
    """Publishes and watches by the room's events, as the page does: anew when the relay says that somebody has left."""

    def __init__(self, relay: RelayProcess, name: str, watches: str) -> None:
        self.relay, self.name, self.watches = relay, name, watches
        self.watcher: Peer | None = None
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._publish()
        async with self.relay.events() as events:
            told = 0
            while True:
                for name, data in events[told:]:
                    told += 1
                    if name == "left" and data["participant"] == self.name:
                        await self._publish()
                    if name == "joined" and data["participant"] == self.watches:
                        self.watcher = await self.relay.peer().watch(f"/whep/r/{self.watches}", ("video",))
                await asyncio.sleep(0.02)

    async def _publish(self) -> None:
        await self.relay.peer().publish(f"/whip/r/{self.name}", MovingVideo())

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def test_two_workers_are_one_relay(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="2") as relay, relay.events() as events:
        assert [one["state"] for one in (await relay.http.get("/readyz")).json()["workers"]] == ["ready", "ready"]
        ann, bob, sees_ann, sees_bob = await two_calls(relay)
        first, second = worker_pids(relay.process.pid)
        assert await udp_sockets(first) >= 2 and await udp_sockets(second) >= 2

        # The room, its events and its figures are those of both.
        assert ("joined", {"participant": "ann"}) in events and ("joined", {"participant": "bob"}) in events
        await until(lambda: [data for name, data in events if name == "stats" and len(data["participants"]) == 2])
        both = [name for name, data in events if name == "stats" and set(data["participants"]) == {"ann"}]
        assert len(both) <= 1  # from when Bob had not come yet
        async with relay.events() as later:
            await until(lambda: len(later) >= 2)
            assert {data["participant"] for name, data in later[:2] if name == "joined"} == {"ann", "bob"}
        streams = (await relay.http.get("/api/stats/streams")).json()["streams"]
        assert {one["name"] for one in streams} == {"ann", "bob"} and len({one["number"] for one in streams}) == 2
        assert [len(one["watchers"]) for one in streams] == [1, 1]
        assert await relay.count('hime_streams{direction="in"}') == 2
        assert await relay.count("hime_frames_total") > 0
        await until_async(relay, lambda points: any(point["streams"] == {"in": 2, "out": 2} for point in points))
        await until_async(relay, lambda points: any(point["fps_in"] > 25 for point in points))

        # A session is changed and ended at its own worker, by the documented URL.
        assert re.fullmatch(r"/whep/r/ann/[^/]+", sees_ann.location)
        patched = await relay.http.patch(sees_ann.location, content="no", headers=FRAGMENT)
        assert patched.status_code == 400  # the session was found, and the fragment looked at
        assert (await relay.http.options(sees_ann.location)).headers["accept-patch"] == FRAGMENT["Content-Type"]
        assert (await sees_bob.leave()).status_code == 200
        assert (await relay.http.delete(sees_bob.location)).status_code == 404
        assert (await offered(relay, "/whep/r/nobody", "recvonly")).status_code == 404
        assert (await relay.http.get("/api/rooms/r/bob/bank")).json()["participant"] == "bob"

        # A name is taken over where it is, as at a single relay.
        again = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: again.pc.connectionState == "connected")
        shown = len(sees_ann.frames)
        await until(lambda: len(sees_ann.frames) > shown + 20 and ann.pc.connectionState == "closed")
        await again.leave()
        await bob.leave()
        await until(lambda: ("left", {"participant": "bob"}) in events)
        await there(relay)


FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


async def udp_sockets(pid: int) -> int:
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    own = {str(link)[8:-1] for link in links if str(link).startswith("socket:")}
    return sum(line.split()[9] in own for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:])


async def until_async(relay: RelayProcess, condition) -> None:
    async with asyncio.timeout(20):
        while not condition((await relay.http.get("/api/stats")).json()["points"]):
            await asyncio.sleep(0.2)


async def test_a_worker_that_is_killed_takes_only_its_own_call_along_which_is_back_at_once(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="2") as relay:
        bob = await relay.peer().publish("/whip/r/bob", video := MovingVideo())  # on the first
        await there(relay, "bob")
        sees_bob = await relay.peer().watch("/whep/r/bob", ("video",))
        await until(lambda: sees_bob.frames)
        page = Page(relay, "ann", "ann")  # on the second
        try:
            await until(lambda: page.watcher and page.watcher.frames)
            before, dead = page.watcher, worker_pids(relay.process.pid)[1]
            sent = len(video.sent)
            os.kill(dead, signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: page.watcher is not before and page.watcher.frames, what="the call")
            back = time.monotonic() - killed
            print(f"\nback {back:.2f} s after the kill")
            assert await relay.count('hime_failures_total{part="worker"}') == 1

            await until(lambda: len(video.sent) > sent + 60)
            await until(lambda: sees_bob.frames[-1].number > sent + 50)
            numbers = [one.number for one in sees_bob.frames if one.number >= sent]
            missing = numbers[-1] - numbers[0] + 1 - len(numbers)
            print(f"the other call lacks {missing} of {numbers[-1] - numbers[0] + 1} frames")
            # Never interrupted: single ones may fall where the new process takes the cores from the test itself.
            assert max(after - before for before, after in pairwise(numbers)) <= 4
            assert bob.pc.connectionState == "connected"
            async with asyncio.timeout(60):
                while [one["state"] for one in await workers(relay)] != ["ready", "ready"]:
                    await asyncio.sleep(0.1)
            assert dead not in worker_pids(relay.process.pid) and len(worker_pids(relay.process.pid)) == 2
        finally:
            await page.close()


async def workers(relay: RelayProcess) -> list[dict[str, object]]:
    return (await relay.http.get("/readyz")).json()["workers"]


async def test_limits_hold_for_all_workers_together(tmp_path: Path) -> None:
    limits = {"HIME_MAX_PARTICIPANTS": "3", "HIME_MAX_WATCHERS": "1", "HIME_MAX_ROOMS": "2"}
    async with relay_process(tmp_path, HIME_WORKERS="2", **limits) as relay:
        peers = [await relay.peer().publish(f"/whip/{room}/{name}", Tone()) for room, name in ("ra", "rb", "sc")]
        refused = await offered(relay, "/whip/r/d")
        assert (refused.status_code, refused.json()["limit"]) == (503, "HIME_MAX_PARTICIPANTS")
        assert int(refused.headers["retry-after"]) > 0
        again = await relay.peer().publish("/whip/r/a", Tone())  # who has a name may take it over
        await until(lambda: again.pc.connectionState == "connected")
        await there(relay, "a", "b")
        await relay.peer().watch("/whep/r/a", ("audio",))
        refused = await offered(relay, "/whep/r/b", "recvonly")
        assert (refused.status_code, refused.json()["limit"]) == (503, "HIME_MAX_WATCHERS")

        await peers[2].leave()
        async with asyncio.timeout(10):  # the worker tells of it soon
            while (await offered(relay, "/whip/t/d")).status_code != 201:
                await asyncio.sleep(0.1)
        refused = await offered(relay, "/whip/u/e")
        assert refused.status_code == 503 and refused.json()["limit"] == "HIME_MAX_ROOMS"
        assert await relay.count('hime_refused_total{reason="participants"}') >= 1


async def offered(relay: RelayProcess, path: str, direction: str = "sendonly") -> httpx.Response:
    peer = relay.peer()
    peer.pc.addTransceiver("audio", direction)
    return await peer.offer(path)


async def test_photos_and_addresses_are_the_whole_relays(tmp_path: Path) -> None:
    ports = "45810-45813"
    async with relay_process(tmp_path, HIME_WORKERS="2", HIME_SESSIONS_PER_MINUTE="5", HIME_UDP_PORTS=ports) as relay:
        peers = [await relay.peer().publish(f"/whip/r/{name}?person=zoe", MovingVideo()) for name in ("ann", "bob")]
        found = [set(re.findall(r"candidate:\S+ 1 udp \d+ \S+ (\d+)", one.pc.remoteDescription.sdp)) for one in peers]
        assert found[0] <= {"45810", "45811"} and found[1] <= {"45812", "45813"} and all(found)
        await there(relay, "ann", "bob")

        # What one worker registers and deletes is used, and gone, in the calls of all.
        files = {"photos": ("photo.jpg", portrait(), "image/jpeg")}
        made = await relay.http.post("/api/people/zoe/exemplars", files=files, data={"consent": "true"})
        assert made.status_code == 201, made.text
        assert [await photos_in_use(relay, name) for name in ("ann", "bob")] == [1, 1]
        (kept,) = (await relay.http.get("/api/people/zoe/exemplars")).json()["exemplars"]
        assert (await relay.http.delete(f"/api/people/zoe/exemplars/{kept['id']}")).status_code == 204
        assert [await photos_in_use(relay, name) for name in ("ann", "bob")] == [0, 0]
        await relay.http.post("/api/people/zoe/exemplars", files=files, data={"consent": "true"})
        assert [await photos_in_use(relay, name) for name in ("ann", "bob")] == [1, 1]
        assert (await relay.http.delete("/api/people/zoe")).status_code == 204
        assert [await photos_in_use(relay, name) for name in ("ann", "bob")] == [0, 0]

        # An address has one allowance, of which two offers are used; another's is its own.
        statuses = [(await relay.http.post(f"/whip/r/{name}", content="no")).status_code for name in "abcde"]
        assert statuses == [415, 415, 415, 429, 429]
        elsewhere = {"X-Forwarded-For": "203.0.113.9"}  # a proxy on this machine, as at a single relay
        assert (await relay.http.post("/whip/r/a", content="no", headers=elsewhere)).status_code == 403
        for shown in ({}, {"X-HIME-Worker": "guessed"}, {"X-HIME-Worker": "gu\xe9ssed".encode("latin-1")}):
            assert (await relay.http.get("/worker/report", headers=shown)).status_code == 404


async def photos_in_use(relay: RelayProcess, name: str) -> int:
    bank = (await relay.http.get(f"/api/rooms/r/{name}/bank")).json()
    return sum(one["source"] == "photo" for one in bank["exemplars"])


async def test_all_calls_end_with_a_goodbye_when_the_relay_ends(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="2", HIME_DRAIN_S="3") as relay, relay.events() as events:
        ann, bob, sees_ann, sees_bob = await two_calls(relay)
        pids = worker_pids(relay.process.pid)
        relay.send(signal.SIGTERM)
        await until(lambda: any(name == "draining" for name, _ in events))
        assert (await relay.http.get("/readyz")).json()["status"] == "draining"
        assert (await offered(relay, "/whip/r/carl")).status_code == 503
        shown = len(sees_ann.frames), len(sees_bob.frames)
        await until(lambda: len(sees_ann.frames) > shown[0] + 10 and len(sees_bob.frames) > shown[1] + 10)
        await until(lambda: {one.pc.connectionState for one in (ann, bob, sees_ann, sees_bob)} == {"closed"})
        assert await relay.exit_code() == 0
        assert sum(name == "draining" for name, _ in events) == 1
        assert [data for name, data in events if name == "left"]
        assert not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]


async def test_workers_do_not_outlive_a_front_that_is_killed(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="2", HIME_DRAIN_S="300") as relay:
        await two_calls(relay)
        pids = worker_pids(relay.process.pid)
        relay.send(signal.SIGKILL)
        await until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


async def test_one_worker_is_the_relay_itself(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="1") as relay:
        assert worker_pids(relay.process.pid) == []
        assert "workers" not in (await relay.http.get("/readyz")).json()


async def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="2", HIME_DRAIN_S="300") as relay:
        await two_calls(relay)
        pids = worker_pids(relay.process.pid)
        relay.send(signal.SIGTERM)
        await until_ready_is(relay, "draining")
        relay.send(signal.SIGTERM)
        assert await relay.exit_code(20) == 128 + signal.SIGTERM
        await until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


async def until_ready_is(relay: RelayProcess, status: str) -> None:
    async with asyncio.timeout(10):
        while (await relay.http.get("/readyz")).json()["status"] != status:
            await asyncio.sleep(0.05)
