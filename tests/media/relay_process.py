"""`hime serve` in a process of its own, with an engine and a detector that do nothing: it serves within a second or
two, and everything but the faces is the relay's own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.shared.peers import Peer

READY = re.compile(r"HIME Relay is ready on http://localhost:(\d+)")
STARTING = 120.0  # seconds; much of a second on a machine that is free


@dataclass
class RelayProcess:
    process: subprocess.Popen[str]
    http: httpx.AsyncClient
    port: int
    peers: list[Peer] = field(default_factory=list)

    def peer(self) -> Peer:
        self.peers.append(Peer(self.http))
        return self.peers[-1]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit_code(self, seconds: float = 30) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)

    async def count(self, metric: str) -> float:
        """The sum of a metric's samples; `metric` is the beginning of their lines."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))

    @asynccontextmanager
    async def events(self, room: str = "r") -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
        """(name, data) as they come; ("end", {}) when the relay has ended the stream."""
        got: list[tuple[str, dict[str, Any]]] = []
        opened = asyncio.Event()

        async def listen() -> None:
            async with self.http.stream("GET", f"/api/rooms/{room}/events", timeout=60) as response:
                opened.set()
                name = ""
                async for line in response.aiter_lines():
                    if line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        got.append((name, json.loads(line[5:])))
                got.append(("end", {}))

        task = asyncio.create_task(listen())
        await asyncio.wait_for(opened.wait(), 10)
        try:
            yield got
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def relay_process(
    data: Path, port: int = 0, before: Sequence[str] = (), **environment: str
) -> AsyncIterator[RelayProcess]:
    """before: a command that starts the relay's."""
    command = [*before, sys.executable, "-m", "tests.media.served", str(port), str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    try:
        port = await asyncio.wait_for(asyncio.to_thread(_port, process), STARTING)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            relay = RelayProcess(process, http, port)
            try:
                yield relay
            finally:
                await asyncio.gather(*(peer.close() for peer in relay.peers))
    finally:
        process.kill()
        process.wait()


def worker_pids(front: int) -> list[int]:
    """The workers of a front that has that process id, in the order of their numbers unless one was started again."""
    return children(front, "quick_worker")


def children(parent: int, module: str) -> list[int]:
    """The processes that run a module, of those that a process has started; the oldest first."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError):  # it has just ended
            for pid in (task / "children").read_text().split():
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return sorted(found)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if found := READY.search(line):
            return int(found[1])
    raise AssertionError(f"the relay ended before it was ready, with {process.wait()}")
