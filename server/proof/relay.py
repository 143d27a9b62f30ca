"""Relays in processes of their own, started as `hime serve` is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

READY_WITHIN = 180  # seconds
READY = "HIME Relay is ready on "
LOG_LINES = 20
# What the relay sends on is to cost no quality, so that the uplink is what is measured.
ENVIRONMENT = {
    "HIME_VIDEO_MIN_BITRATE": "4000000",
    "HIME_VIDEO_START_BITRATE": "4000000",
    "HIME_VIDEO_MAX_BITRATE": "4000000",
    "HIME_ICE_SERVERS": "",
    "HIME_API_KEYS": "",
    "HIME_API_KEYS_FILE": "",
}


class RelayFailed(RuntimeError):
    """The relay did not start; the message says what it said last."""


class RelayProcess:
    """A relay on a free port of this machine, while it is entered. references: exemplars per face at most."""

    def __init__(self, weights: str, references: int) -> None:
        self.url = ""
        self._weights, self._references = weights, references
        self._process: subprocess.Popen[str] | None = None
        self._data: tempfile.TemporaryDirectory[str] | None = None
        self._said: list[str] = []

    def __enter__(self) -> RelayProcess:
        """Raises RelayFailed."""
        self._data = tempfile.TemporaryDirectory(prefix="hime-prove-")
        command = [sys.executable, "-m", "server.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
        command += ["--data", self._data.name, "--weights", self._weights, "--log-level", "warning"]
        root = str(Path(__file__).resolve().parents[2])
        environment = os.environ | ENVIRONMENT | {"HIME_REFERENCES": str(self._references)}
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        ready = threading.Event()
        for stream in (self._process.stdout, self._process.stderr):
            threading.Thread(target=self._listen, args=(stream, ready), daemon=True).start()
        if not ready.wait(READY_WITHIN) or not self.url:
            self.__exit__()
            raise RelayFailed(f"the relay did not start: {self._said[-1] if self._said else 'it said nothing'}")
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

    def _listen(self, stream: IO[str] | None, ready: threading.Event) -> None:
        """Until the process ends; `ready` is set by then at the latest."""
        assert stream is not None
        for line in stream:
            if line.startswith(READY):
                self.url = line.removeprefix(READY).strip()
                ready.set()
            self._said = [*self._said, line.strip()][-LOG_LINES:]
        ready.set()
