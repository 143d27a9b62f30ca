"""`hime demo`: a relay with something to see, in real processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import av
import httpx
import pytest

from benchmarks.shared.peers import Peer, until
from server.demo.command import CLIP

LINK = re.compile(r"http://localhost:\d+/\S+")
STARTING = 150.0  # seconds: it loads the network


async def test_its_link_leads_to_a_room_in_which_there_is_something_to_see() -> None:
    """Also where the port that the user's own relay is set to is in use, as it is by that relay."""
    users = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    users.bind(("", 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "server.cli", "demo", "--port", "0", "--weights", "tiny-x4-call"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HIME_UDP_PORTS": str(users.getsockname()[1])},
    )
    try:
        link = urlsplit(await asyncio.wait_for(asyncio.to_thread(_link, process), STARTING))
        query = parse_qs(link.query)
        room = query["room"][0]
        assert query["watch"] == ["1"]
        async with httpx.AsyncClient(base_url=f"http://{link.netloc}", timeout=20) as http:
            (name,) = (await http.get(f"/api/rooms/{room}")).json()["participants"]
            watcher = Peer(http)
            await watcher.watch(f"/whep/{room}/{name}?view=compare")
            await until(lambda: len(watcher.frames) > 10, 30)
            assert watcher.frames[-1].size == (2560, 720)
            await watcher.close()
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{link.netloc}/healthz")
    finally:
        process.kill()
        process.wait()
        users.close()


def _link(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := LINK.search(line):
            return found[0]
    raise AssertionError(f"it ended before it told a link, with {process.wait()}")


def test_the_packaged_clip_is_small_and_ends_as_it_begins() -> None:
    assert CLIP.stat().st_size < 600_000
    with av.open(str(CLIP)) as clip:
        frames = [frame.to_ndarray(format="gray").astype(int) for frame in clip.decode(video=0)]
    jumps = [abs(after - before).mean() for before, after in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert jumps[-1] <= max(jumps[:-1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--clip", "/nowhere.mp4"], "/nowhere.mp4"),
        (["--port", "66000"], "--port"),
        (["--port", "0", "--weights", "nonsense"], "nonsense"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "server.cli", "demo", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "server.cli", "demo", "--port", str(taken.getsockname()[1])]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and "--port" in result.stderr and result.stderr.count("\n") == 1, result.stderr
