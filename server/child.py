"""A relay in a process of its own, started as `hime serve` is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

READY_WITHIN = 180  # seconds
READY = "HIME Relay is ready on "
LOG_LINES = 20
# Whatever the user's own relay is set to: open to this machine, on ports that it does not hold, and with nothing stored
# outside its own directory.
ALONE = MappingProxyType(
    {
        "HIME_CONFIG": "",
        "HIME_UDP_PORTS": "",
        "HIME_ANNOUNCED_ADDRESS": "",
        "HIME_ICE_SERVERS": "",
        "HIME_API_KEYS": "",
        "HIME_API_KEYS_FILE": "",
        "HIME_DATABASE_URL": "",
        "HIME_PHOTOS_URL": "",
        "HIME_WORKERS": "1",
        "HIME_CLUSTER": "false",
    }
)


class RelayFailed(RuntimeError):
    """The relay did not start; the message says what it said last."""


def alone(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a relay that is not the user's own. settings: environment variables that come before."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **ALONE, **settings, "PYTHONPATH": path}


class RelayProcess:
    """A relay on this machine, while it is entered. Its data are gone with it."""

    def __init__(self, settings: Mapping[str, str], port: int = 0) -> None:
        """settings: environment variables; port: 0 for a free one."""
        self.url = ""
        self._settings, self._port = settings, port
        self._process: subprocess.Popen[str] | None = None
        self._data: tempfile.TemporaryDirectory[str] | None = None
        self._said: list[str] = []

    def __enter__(self) -> RelayProcess:
        """Raises RelayFailed."""
        self._data = tempfile.TemporaryDirectory(prefix="hime-relay-")
        command = [sys.executable, "-m", "server.cli", "serve", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--data", self._data.name, "--log-level", "warning"]
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=alone(self._settings)
            )
            ready = threading.Event()
            for stream in (self._process.stdout, self._process.stderr):
                threading.Thread(target=self._listen, args=(stream, ready), daemon=True).start()
            if not ready.wait(READY_WITHIN) or not self.url:
                raise RelayFailed(f"the relay did not start: {self.last_words}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._data is not None:
            self._data.cleanup()

    @property
    def last_words(self) -> str:
        return self._said[-1].removeprefix("hime: ") if self._said else "it said nothing"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _listen(self, stream: IO[str] | None, ready: threading.Event) -> None:
        """Until the process ends; `ready` is set by then at the latest."""
        assert stream is not None
        for line in stream:
            if line.startswith(READY):
                self.url = line.removeprefix(READY).strip()
                ready.set()
            self._said = [*self._said, line.strip()][-LOG_LINES:]
        ready.set()
