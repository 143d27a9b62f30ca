"""Calls whose faces are enhanced in an engine process, and what they notice when that dies or hangs: nothing but
carried frames."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from aiortc.mediastreams import MediaStreamError

import server.app as application
from benchmarks.shared.peers import Peer, until
from benchmarks.shared.portrait import Portrait, number_of
from hime_core.video.picture import Picture
from server.app import Relay
from server.engines.engines import engines_of
from tests.media.relay_process import RelayProcess, children, relay_process, worker_pids
from tests.media.test_enhanced_call import counts, outcomes, relay_of
from tests.media.test_workers import there, until_async

QUICK = "tests.media.quick_engine"


class Watcher(Peer):
    """Keeps the numbers of the frames that it gets, as the camera gave them."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        super().__init__(http)
        self.numbers: list[int] = []

    async def _read(self, track) -> None:
        with suppress(MediaStreamError):
            while True:
                self.numbers.append(number_of(Picture.from_frame(await track.recv())))


@asynccontextmanager
async def relay_with_a_process(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Relay, httpx.AsyncClient]]:
    monkeypatch.setattr(application, "engines_of", partial(engines_of, module=QUICK))
    async with relay_of(data, given={"engine": "process"}) as (relay, http):
        yield relay, http


def failures(relay: Relay, part: str) -> float:
    return counts(relay, "hime_failures_total", "part").get(part, 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_call_outlives_its_engine_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    async with relay_with_a_process(tmp_path, monkeypatch) as (relay, http):
        publisher, watcher = Peer(http), Watcher(http)
        await publisher.publish("/whip/r/ann", Portrait(frames=120))
        await until(lambda: "ann" in (room := relay.rooms.get("r")).participants and room.participants["ann"].joined)
        await watcher.watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: outcomes(relay)["enhanced"] > 20, 60, "enhanced frames")
        await until(lambda: relay.lasting._engine.known > 0, 30, "exemplars in the process")
        (first,) = children(os.getpid(), "quick_engine")
        before, lost = outcomes(relay), relay.lasting._engine

        os.kill(first, how)
        took = await until(lambda: failures(relay, "engine") == 1, 30, "the process's end")
        meanwhile = outcomes(relay)
        back = await until(lambda: outcomes(relay)["enhanced"] > meanwhile["enhanced"] + 20, 60, "enhanced frames")
        after = outcomes(relay)
        print(f"\n{how.name}: noticed within {took:.1f} s, 20 fresh frames {back:.1f} s later; {before} -> {after}")

        (second,) = children(os.getpid(), "quick_engine")
        assert second != first and failures(relay, "engine_connection") == 1
        assert relay.lasting._engine is not lost
        await until(lambda: relay.lasting._engine.known > 0, 30, "the exemplars again")
        assert after["carried"] + after["passed"] > before["carried"] + before["passed"]
        assert relay.known_reasons == []
        steps = [abs(after - before) for before, after in pairwise(watcher.numbers)]  # the camera plays back and forth
        print(f"{sum(max(0, step - 1) for step in steps)} of {sum(steps)} frames did not come")
        # Single ones may fall where the new process takes the cores from the test itself.
        assert max(steps) <= 4
        assert publisher.pc.connectionState == "connected"
        await publisher.close()
        await watcher.close()
    assert not children(os.getpid(), "quick_engine")


async def test_weights_that_are_broken_leave_the_relay_serving_and_unready(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    async with relay_of(tmp_path, given={"engine": "process", "weights": str(broken)}) as (_, http):
        answer = await http.get("/readyz")
        assert answer.status_code == 503 and answer.json()["reasons"][0].startswith("engine: ")
        assert "broken.safetensors" in answer.json()["reasons"][0]


async def test_two_workers_share_a_process_and_neither_outlives_the_front(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_WORKERS="2", HIME_ENGINE="process") as relay:
        (engine,), workers = children(relay.process.pid, "quick_engine"), worker_pids(relay.process.pid)
        for name in ("ann", "bob"):
            await relay.peer().publish(f"/whip/r/{name}", Portrait(frames=120))
        await there(relay, "ann", "bob")
        watchers = [await relay.peer().watch(f"/whep/r/{name}?layout=native", ("video",)) for name in ("ann", "bob")]
        await until(lambda: all(len(watcher.frames) > 20 for watcher in watchers), 60)
        await enhanced(relay)
        assert await relay.count("hime_batch_size_count") > 0
        assert await relay.count('hime_stage_duration_seconds_count{stage="queue"}') > 0
        assert await relay.count('hime_stage_duration_seconds_count{stage="enhance"}') > 0
        await until_async(relay, lambda points: any(point["batch_size"] for point in points))

        os.kill(engine, signal.SIGKILL)
        await until(lambda: children(relay.process.pid, "quick_engine") not in ([], [engine]), 30)
        await enhanced(relay)
        assert await relay.count('hime_failures_total{part="engine"}') == 1
        assert await relay.count('hime_failures_total{part="engine_connection"}') == 2
        assert (await relay.http.get("/readyz")).status_code == 200

        again = children(relay.process.pid, "quick_engine")
        relay.send(signal.SIGKILL)
        await until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in (*again, *workers)))


async def enhanced(relay: RelayProcess) -> None:
    """Until both calls have had twenty more of them."""
    before = await freshly(relay)
    for _ in range(600):
        now = await freshly(relay)
        if all(now[name] >= before[name] + 20 for name in now):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"from {before} to {await freshly(relay)}")


async def freshly(relay: RelayProcess) -> dict[str, int]:
    streams = (await relay.http.get("/api/stats/streams")).json()["streams"]
    return {one["name"]: one["outcomes"]["enhanced"] for one in streams}
