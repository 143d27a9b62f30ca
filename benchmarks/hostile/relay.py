"""A relay in a process of its own, which tells what it holds and what has reached its last resort."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANG = 30  # seconds that the event loop may stand still before every thread's stack is printed, and the relay ends
START = 300  # seconds: on a busy machine, loading everything takes long
MANY = 1_000_000  # sessions from one address, which is everybody's here
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Held:
    """What a relay holds at one time. memory: resident, MiB; blocks: of Python's own memory, which tells of a leak long
    before the resident memory does; stall: the longest that its event loop stood still since
    it was asked before, seconds; errors: what was logged as one, or reached the event loop's last resort."""

    time: float
    memory: float
    blocks: int
    threads: int
    files: int
    tasks: int
    stall: float
    errors: list[str]
    ports: list[tuple[str, int]]


class RelayProcess:
    """url, once it is entered; held() asks it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self.url = ""

    def __enter__(self) -> RelayProcess:
        self._process.start()
        assert self._connection.poll(START), "the relay did not start"
        self.url = self._connection.recv()
        return self

    def __exit__(self, *error: object) -> None:
        if self.alive:
            self._connection.send(None)
        self._process.join(30)
        self._process.kill()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def held(self, collected: bool = False) -> Held:
        """collected: after the garbage collector has been by, which holds the relay up for a moment."""
        self._connection.send(collected)
        assert self._connection.poll(HANG), "the relay does not answer"
        held: Held = self._connection.recv()
        return held


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(self.format(record)[:3000])


def _serve(connection: Any) -> None:
    import uvicorn
    import uvloop

    from benchmarks.shared.stand_ins import EnlargingEngine, OneFarFace
    from server.app import create_app
    from server.memory import keep_what_is_loaded
    from server.settings import Settings

    errors, stall = _Errors(), [0.0]
    logging.getLogger().addHandler(errors)
    logging.getLogger("aioice").setLevel(logging.WARNING)

    async def watch_stalls() -> None:
        while True:
            faulthandler.dump_traceback_later(HANG, exit=True)
            started = time.monotonic()
            await asyncio.sleep(0.02)
            stall[0] = max(stall[0], time.monotonic() - started - 0.02)

    def held(loop: asyncio.AbstractEventLoop, relay: Any) -> Held:
        longest, stall[0] = stall[0], 0.0
        told, errors.told = errors.told, []
        everyone = [one for room in relay.rooms._rooms.values() for one in room.participants.values()]
        sessions = [
            session
            for one in everyone
            for session in (one.session, *(watcher.session for watcher in one.watchers.values()))
        ]
        ports = [(one.ip, one.port) for session in sessions for one in session._transport.candidates]
        return Held(
            time.monotonic(),
            int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20,
            sys.getallocatedblocks(),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
            len(asyncio.all_tasks(loop)),
            longest,
            told,
            ports,
        )

    async def run(data: str) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.told.append(_described(context)))
        app = create_app(
            Settings(_env_file=None, data=Path(data), sessions_per_minute=MANY), EnlargingEngine(), OneFarFace()
        )
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        watching = asyncio.create_task(watch_stalls())
        keep_what_is_loaded()
        connection.send(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        while (collected := await asyncio.to_thread(connection.recv)) is not None:
            if collected:
                gc.collect()
            connection.send(held(loop, app.state.relay))
        faulthandler.cancel_dump_traceback_later()
        watching.cancel()
        await app.state.relay.stop()
        server.should_exit = True
        await serving

    with tempfile.TemporaryDirectory() as data, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(data))


def _described(context: dict[str, Any]) -> str:
    import traceback

    error = context.get("exception")
    lines = traceback.format_exception(error) if error else []
    return f"{context.get('message')}: {''.join(lines)[-2500:]}"
