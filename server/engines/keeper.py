"""One engine process, which is started again where it ends or hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from server.engines.orders import Orders
from server.settings import Settings
from server.settings.invalid import PREFIX
from server.supervision import Failed

MODULE = "server.engines.process"
START_WITHIN = 300.0  # seconds until its first sign of life: networks are loaded
SILENT = 5.0  # seconds without one, after which it is taken to hang
SHORT = 60.0  # seconds: a life that is too short to be worth much
TRIES = 3  # short lives in a row, after which the graphics card is given up
BACKLOG = 128
ALIVE, NO_CARD = b".", b"!"  # what it says on standard output

log = logging.getLogger(__name__)


class EngineDied(RuntimeError):
    """It has ended, or hangs, though nobody told it to end."""


class Keeper:
    """For the event loop. The socket is there from the beginning: who connects while there is no process waits for the
    next."""

    def __init__(
        self,
        settings: Settings,
        path: Path,
        card: str | None = None,
        failed: Failed = lambda part: None,
        module: str = MODULE,
        clock: Callable[[], float] = time.monotonic,
        silent: float = SILENT,
    ) -> None:
        """path: of the socket; card: the one graphics card that it sees, as CUDA_VISIBLE_DEVICES has it, None for
        whichever there are; failed: told of a card that it cannot use, as whoever runs this is of deaths; module: what
        is run."""
        self.path = path
        self._settings, self._card, self._module, self._clock, self._silent = settings, card, module, clock, silent
        self._failed = failed
        self._process: Process | None = None
        self._short = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(BACKLOG)

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    @property
    def device(self) -> str:
        """What the next process is to load the network on. A card that can be done without is given up where process
        after process has died with it."""
        given_up = self._settings.device == "auto" and self._short >= TRIES
        return "cpu" if given_up else self._settings.device

    async def run(self) -> None:
        """Until it is cancelled; to be started again where it raises EngineDied."""
        began = self._clock()
        process = self._process = await self._started()
        try:
            why = await self._life(process)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        lasted = self._clock() - began
        self._short = self._short + 1 if lasted < SHORT else 0
        if self._settings.device == "auto" and self._short == TRIES:
            log.error("engine processes die one after the other: the next one leaves the graphics card alone")
        raise EngineDied(why)

    def close(self) -> None:
        self._listener.close()

    async def _life(self, process: Process) -> str:
        """Returns why it is over, when it is."""
        assert process.stdout is not None
        within = START_WITHIN
        while True:
            try:
                said = await asyncio.wait_for(process.stdout.read(1024), within)
            except TimeoutError:
                return f"the engine process has given no sign of life for {within:g} s"
            if not said:
                return f"the engine process has ended with {await process.wait()}"
            if NO_CARD in said:
                self._failed("engine")
            within = self._silent if ALIVE in said else within

    async def _started(self) -> Process:
        """In a session of its own: what a terminal's Ctrl-C means for it, the relay decides."""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # no keys
        environment = own | {"PYTHONPATH": path}
        if self._card is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self._card
        listener = self._listener.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, str(listener), stdin=PIPE, stdout=PIPE, env=environment,
            pass_fds=(listener,), start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        with suppress(OSError):  # it has ended already, which its exit code tells
            process.stdin.write(Orders(self._settings.weights, self.device, self._settings.log_level).line())
            await process.stdin.drain()
        return process  # whose standard input stays open: it ends with the relay
