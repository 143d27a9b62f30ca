"""What a signal does to a relay: calls go on for a while, nobody new comes in, and all ends with a goodbye."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.shared.peers import MovingVideo, Tone, until
from server.hosting import EXIT_SECONDS
from tests.media.relay_process import RelayProcess, relay_process


async def call(relay: RelayProcess):
    publisher = await relay.peer().publish("/whip/r/ann", MovingVideo(), Tone())
    await until(lambda: publisher.pc.connectionState == "connected")
    await joined(relay)
    watcher = await relay.peer().watch("/whep/r/ann")
    await until(lambda: watcher.frames)
    return publisher, watcher


async def joined(relay: RelayProcess) -> None:
    while "ann" not in (await relay.http.get("/api/rooms/r")).json()["participants"]:
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_call_goes_on_until_the_time_is_up_and_then_ends_with_a_goodbye(tmp_path: Path, number) -> None:
    drain = 8.0
    async with relay_process(tmp_path, HIME_DRAIN_S=str(drain)) as relay, relay.events() as events:
        publisher, watcher = await call(relay)
        sent_at = time.monotonic()
        relay.send(number)
        await until(lambda: any(name == "draining" for name, _ in events))
        ready = await relay.http.get("/readyz")  # who is told of the end is told by a relay that takes nobody new
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert ready.json()["reasons"][0].startswith("draining: ")
        assert (await relay.http.get("/healthz")).status_code == 200
        (told,) = (data for name, data in events if name == "draining")
        assert 0 < told["seconds"] <= drain

        refused = await relay.peer().offer("/whip/r/bob")
        assert refused.status_code == 503 and refused.headers["content-type"] == "application/problem+json"
        assert 1 <= int(refused.headers["retry-after"]) <= drain
        assert await relay.count('hime_refused_total{reason="draining"}') == 1
        async with relay.events() as later:  # who listens from now on learns it first
            await until(lambda: later)
            assert later[0][0] == "draining" and later[0][1]["seconds"] <= told["seconds"]
        # Who is in the call may change what is watched.
        other = await relay.peer().watch("/whep/r/ann?view=original", ("video",))
        await until(lambda: other.frames)
        assert (await other.leave()).status_code == 200

        shown, heard = len(watcher.frames), len(watcher.audio)
        await until(
            lambda: len(watcher.frames) > shown + 10 and len(watcher.audio) > heard + 25
        )  # none come afterwards
        await until(lambda: publisher.pc.connectionState == watcher.pc.connectionState == "closed")
        assert watcher.frames[-1].time - sent_at > 0.8 * drain  # DTLS has said goodbye, not a time-out
        await until(lambda: events[-1][0] == "end")
        assert ("left", {"participant": "ann"}) in events
        assert await relay.exit_code(EXIT_SECONDS / 2) == 0  # by itself: what hangs is ended later, with 0 as well


async def test_with_nobody_there_it_ends_at_once(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_DRAIN_S="300") as relay, relay.events() as events:
        relay.send(signal.SIGTERM)
        await until(lambda: events and events[-1][0] == "end")
        assert await relay.exit_code() == 0


async def test_it_ends_when_the_last_one_has_left(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_DRAIN_S="300") as relay, relay.events() as events:
        publisher, _ = await call(relay)
        relay.send(signal.SIGTERM)
        await until(lambda: any(name == "draining" for name, _ in events))
        await asyncio.sleep(1)
        assert relay.process.poll() is None
        assert (await publisher.leave()).status_code == 200
        assert await relay.exit_code() == 0


async def test_a_second_signal_ends_calls_at_once(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_DRAIN_S="300") as relay, relay.events() as events:
        publisher, watcher = await call(relay)
        relay.send(signal.SIGTERM)
        await until(lambda: any(name == "draining" for name, _ in events))
        relay.send(signal.SIGTERM)
        assert await relay.exit_code() == 128 + signal.SIGTERM
        await until(lambda: publisher.pc.connectionState == watcher.pc.connectionState == "closed")


async def test_no_time_to_drain_ends_calls_with_a_goodbye_at_once(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_DRAIN_S="0") as relay, relay.events() as events:
        publisher, watcher = await call(relay)
        relay.send(signal.SIGTERM)
        await until(lambda: publisher.pc.connectionState == watcher.pc.connectionState == "closed")
        await until(lambda: ("left", {"participant": "ann"}) in events)
        assert await relay.exit_code() == 0


def _pid_one() -> list[str]:
    """What makes the relay process 1 of its own, as in a container; nothing where that is not allowed."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


async def test_process_one_of_a_container_drains_as_well(tmp_path: Path) -> None:
    before = _pid_one()
    if not before:
        pytest.skip("a process namespace needs rights that this test does not have")
    async with relay_process(tmp_path, before=before, HIME_DRAIN_S="2") as relay, relay.events() as events:
        publisher, _ = await call(relay)
        children = Path(f"/proc/{relay.process.pid}/task/{relay.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        await until(lambda: any(name == "draining" for name, _ in events))
        await until(lambda: publisher.pc.connectionState == "closed")
        assert await relay.exit_code() == 0


@pytest.mark.parametrize("read", ["starlette.applications", "server.app", "hime_core.engine"])
def test_a_signal_during_start_up_ends_it(tmp_path: Path, read: str) -> None:
    """The real command: while its modules are read, when they are, and while its networks are loaded."""
    command = [sys.executable, "-X", "importtime", "-m", "server.cli", "serve", "--port", "0", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any(re.search(rf"\| +{re.escape(read)}$", line.rstrip()) for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors[-500:]
        assert "ready" not in out and "Traceback" not in errors
    finally:
        process.kill()
        process.wait()
