"""`hime load` against relays on loopback: ours, one that refuses, and a plain one of aiortc's."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shared import relays
from server.client.load.call import CallPlan
from server.client.load.encoded import encode
from server.client.load.processes import ProcessGroup, WorkerDied
from server.demo.command import CLIP
from tests.media.relay_process import RelayProcess, relay_process

KEY = "ops:a-long-secret-that-only-the-test-knows"
PASSED = ("--view", "original", "--layout", "native", "--size", "320x180", "--kbps", "200")


async def loaded(url: str, *arguments: str) -> tuple[int, str, str]:
    """The exit code, what is printed and what is said of errors."""
    command = [sys.executable, "-m", "server.cli", "load", url, *PASSED, *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def measured(url: str, *arguments: str) -> dict[str, Any]:
    code, out, err = await loaded(url, "--json", *arguments)
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def url(relay: RelayProcess) -> str:
    return f"http://127.0.0.1:{relay.port}"


async def sessions(relay: RelayProcess) -> tuple[int, int]:
    """Publishers and watchers, at this moment."""
    streams = (await relay.http.get("/api/stats/streams")).json()["streams"]
    return len(streams), sum(len(stream["watchers"]) for stream in streams)


async def test_three_calls_are_measured_and_leave(tmp_path: Path) -> None:
    async with relay_process(tmp_path) as relay:
        document = await measured(url(relay), "--calls", "3", "--watchers", "2", "--seconds", "3", "--ramp", "0.1")
        assert await sessions(relay) == (0, 0)
    (step,) = document["steps"]
    assert (step["calls"], step["watchers"], step["timed"], step["refused"]) == (3, 6, 6, {})
    assert 0.5 < step["came"] <= 1 and 0 < step["p50_ms"] <= step["p95_ms"]
    assert step["kbps"] > 50 and step["first_frame_p50_ms"] > 0 and step["relay_cores"] > 0
    assert step["outcomes"]["passed"] > 1 and document["options"]["clip"]["width"] == 320


async def test_h264_in_one_room_by_two_processes(tmp_path: Path) -> None:
    async with relay_process(tmp_path) as relay:
        arguments = ("--codec", "H264", "--together", "--processes", "2", "--calls", "2", "--seconds", "2")
        document = await measured(url(relay), *arguments)
        assert await sessions(relay) == (0, 0)
    (step,) = document["steps"]
    assert (step["calls"], step["timed"]) == (2, 2) and step["came"] > 0.5


async def test_a_relay_that_refuses_is_a_result(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_MAX_STREAMS="2") as relay:
        arguments = ("--calls", "4", "--until-full", "--seconds", "1", "--limit-ms", "5000")
        code, out, _ = await loaded(url(relay), *arguments)
    assert code == 0 and "refused: 1 × 503" in out.splitlines()[-1]


async def test_each_call_gets_a_token_by_a_key(tmp_path: Path) -> None:
    async with relay_process(tmp_path, HIME_API_KEYS=KEY) as relay:
        code, _, err = await loaded(url(relay), "--seconds", "1")
        assert code == 1 and "1 × 401" in err
        code, out, err = await loaded(url(relay), "--calls", "2", "--seconds", "1", "--key", KEY, "--json")
        assert code == 0 and json.loads(out)["steps"][0]["calls"] == 2
        assert KEY.partition(":")[2] not in out + err


async def test_ctrl_c_ends_every_session(tmp_path: Path) -> None:
    async with relay_process(tmp_path) as relay:
        command = [sys.executable, "-m", "server.cli", "load", url(relay), *PASSED, "--calls", "2", "--seconds", "100"]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while await sessions(relay) != (2, 2):
            await asyncio.sleep(0.1)
        load.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(load.communicate, timeout=30)
        assert load.returncode == 1 and err.count("\n") == 1 and "ended before" in err
        assert await sessions(relay) == (0, 0)


@pytest.fixture
def plain() -> Iterator[str]:
    """A relay as aiortc's examples make it, with paths of its own."""
    with relays.spawned(relays.plain_aiortc) as running:
        yield running.url


async def test_a_plain_relay_of_somebody_elses(plain: str) -> None:
    document = await measured(
        plain, "--whip", "/whip/{name}", "--whep", "/whep/{name}", "--calls", "2", "--seconds", "3"
    )
    (step,) = document["steps"]
    assert (step["calls"], step["timed"], step["relay_cores"], step["outcomes"]) == (2, 2, None, {})
    assert step["came"] > 0.5 and step["p50_ms"] > 0


async def test_a_process_of_the_load_that_dies_is_told(tmp_path: Path) -> None:
    plan = CallPlan("http://127.0.0.1:9", encode(CLIP, "VP8", 100, (160, 90)))
    group = ProcessGroup(plan, 2)
    assert await asyncio.gather(group.add(0), group.add(1)) == ["no answer"] * 2
    assert await group.figures(0) == [] and await group.cpu_seconds() > 0
    (first, *_) = multiprocessing.active_children()
    first.kill()
    with pytest.raises(WorkerDied):
        while True:
            await group.figures(0)
    await group.close()
    assert not multiprocessing.active_children()


async def test_where_nobody_answers_nothing_is_measured() -> None:
    code, out, err = await loaded("http://127.0.0.1:9", "--json")
    assert code == 1 and not out and "1 × no answer" in err and err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "says"), [(("--codec", "AV1"), "--codec"), (("--clip", "/no.mp4"), "/no.mp4")])
async def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = await loaded("http://127.0.0.1:9", *arguments)
    assert code == 2 and not out and says in err and err.count("\n") == 1
