"""When the machine fails a relay: no descriptors, no threads, a loop that stands still, peers that vanish, kill -9."""

from __future__ import annotations

import asyncio
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from benchmarks.shared.peers import MovingVideo, Tone, serving, until
from tests.media.relay_process import relay_process
from tests.media.test_drain import call, joined


async def test_without_file_descriptors_newcomers_get_503_and_the_call_goes_on(tmp_path: Path) -> None:
    async with relay_process(tmp_path) as relay:
        publisher, watcher = await call(relay)
        pid = relay.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        newcomer = relay.peer()
        newcomer.pc.addTransceiver("video", "sendrecv")
        await relay.http.get("/healthz")  # its connection is kept, and used by what follows
        used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        limit = min(set(range(10_000)) - used)  # the kernel gives the lowest number that is free
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        try:
            for path in ("/whip/r/bob", "/whep/r/ann"):
                refused = await newcomer.offer(path)
                assert refused.status_code == 503, refused.text
                assert int(refused.headers["retry-after"]) > 0
                assert refused.headers["content-type"] == "application/problem+json"
            assert await relay.count('hime_refused_total{reason="exhausted"}') == 2
            # New connections are not taken, and the listener lives on.
            held = [await asyncio.open_connection("127.0.0.1", relay.port) for _ in range(20)]
            shown, heard = len(watcher.frames), len(watcher.audio)
            await asyncio.sleep(1)
            assert len(watcher.frames) > shown + 10 and len(watcher.audio) > heard + 25
            assert publisher.pc.connectionState == "connected"
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.1)
        fresh = await relay.peer().publish("/whip/r/cem", MovingVideo())
        await until(lambda: fresh.pc.connectionState == "connected")
        assert (await publisher.leave()).status_code == 200


async def test_without_threads_newcomers_get_503_and_the_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as relay:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann")
        await until(lambda: watcher.frames)
        # aiortc's clients start threads in this process as well: they have theirs by now.
        offered = relay.peer()
        offered.pc.addTransceiver("video", "sendonly")
        start = threading.Thread.start

        def scarce(self: threading.Thread) -> None:
            if self.name.startswith("video-") or "Worker" in self.name:
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", scarce)
        refused = await offered.offer("/whip/r/bob")
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        assert relay.total("hime_refused_total", reason="exhausted") == 1
        assert relay.enhancers[-1].closed  # nothing is left of the attempt
        assert list(relay.rooms.get("r").participants) == ["ann"]
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 10)
        monkeypatch.undo()
        fresh = await relay.peer().publish("/whip/r/bob", MovingVideo())
        await until(lambda: relay.rooms.get("r").participants["bob"].joined)
        assert fresh.pc.connectionState == publisher.pc.connectionState == "connected"


async def test_a_loop_that_stood_still_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.media.session.PEER_TIMEOUT", 1.0)
    async with serving(media_timeout_s=1.0) as relay, relay.events() as events:
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
        watcher = await relay.peer().watch("/whep/r/ann")
        await until(lambda: watcher.frames)
        time.sleep(3.0)  # thrice what a peer may be silent for
        shown = len(watcher.frames)
        await until(lambda: len(watcher.frames) > shown + 20)
        assert not [name for _, name, _ in events if name == "left"]
        assert publisher.pc.connectionState == watcher.pc.connectionState == "connected"
        assert list(relay.rooms.get("r").participants) == ["ann"]


async def test_a_publisher_that_vanishes_in_the_middle_of_a_keyframe_leaves_nothing_behind() -> None:
    async with serving(reconnect_s=1) as relay, relay.events() as events:
        await relay.peer().publish("/whip/r/bob", MovingVideo())
        await until(lambda: relay.enhancers and relay.enhancers[0].sizes)
        other = await relay.peer().watch("/whep/r/bob", ("video",))
        await until(lambda: other.frames)
        threads = _media_threads()
        publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(1280, 720, fps=5))
        await until(lambda: "ann" in [data.get("participant") for _, _, data in events])
        watcher = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: watcher.frames)
        ann = relay.rooms.get("r").participants["ann"]
        gone = _vanish_in_a_keyframe(publisher)
        ann.session._receivers[0]._jitter.await_keyframe("gap")
        ann.session._receivers[0]._ask()
        await until(gone.is_set)
        await until(lambda: told(events, "reconnecting") and told(events, "left"))
        await until(lambda: "video" in watcher.ended)
        await until(lambda: _media_threads() == threads and not relay.rooms.get("r")._leaving)
        shown = len(other.frames)
        await until(lambda: len(other.frames) > shown + 10)


def told(events, event: str) -> bool:
    """Whether that was told of ann."""
    return any(name == event and data["participant"] == "ann" for _, name, data in events)


def _media_threads() -> int:
    """The relay's; aiortc's clients have others."""
    return sum(thread.name.startswith("video-") for thread in threading.enumerate())


def _vanish_in_a_keyframe(publisher) -> asyncio.Event:
    """Of the next large frame, three packets leave, and nothing afterwards. Set when that has happened."""
    gone, left, burst_began = asyncio.Event(), 0, 0.0
    protocols = {
        protocol
        for transceiver in publisher.pc.getTransceivers()
        for protocol in transceiver.receiver.transport.transport._connection._protocols
    }
    for protocol in protocols:
        send = protocol.transport.sendto

        def sendto(data: bytes, *address, send=send) -> None:
            nonlocal left, burst_began
            if gone.is_set():
                return
            now = time.monotonic()
            if len(data) > 1000 and 128 <= data[0] < 192:  # full packets: of a frame of several
                left = left + 1 if now - burst_began < 0.05 else 1
                burst_began = now
                if left > 3:
                    gone.set()
                    return
            send(data, *address)

        protocol.transport.sendto = sendto
    return gone


async def test_a_relay_that_is_killed_and_started_again_takes_the_same_people(tmp_path: Path, unused_port: int) -> None:
    async with relay_process(tmp_path, unused_port) as relay:
        await call(relay)
        relay.send(signal.SIGKILL)
        assert await relay.exit_code() == -signal.SIGKILL
    async with relay_process(tmp_path, unused_port) as relay:
        assert (await relay.http.get("/readyz")).json()["status"] == "ready"
        again = await relay.peer().publish("/whip/r/ann", MovingVideo())
        await joined(relay)
        viewer = await relay.peer().watch("/whep/r/ann", ("video",))
        await until(lambda: viewer.frames)
        assert again.pc.connectionState == "connected"


@pytest.fixture
def unused_port() -> int:
    from benchmarks.shared.relays import free_port

    return free_port()
