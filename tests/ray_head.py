"""A Ray head of the test run's own, on loopback, gone when it is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def ray_head(cpus: int = 1, address: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Its address, host:port. cpus: what Ray is told that there are; port: any that is free where it is 0."""
    if not port:
        with socket.create_server((address, 0)) as listener:
            port = listener.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="hime-ray-", dir="/tmp"))  # a socket's path may have 107 letters
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--node-ip-address={address}"]
    command += [f"--port={port}", f"--num-cpus={cpus}", "--object-store-memory=80000000", f"--temp-dir={folder}"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    with open(folder / "head.log", "wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(head, folder / "head.log", address, port)
        yield f"{address}:{port}"
    finally:
        os.killpg(head.pid, signal.SIGKILL)  # nothing is to be kept, and it takes more than 20 s to end by itself
        head.wait()
        _end_the_rest(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def _wait(head: subprocess.Popen[bytes], log: Path, address: str, port: int) -> None:
    end = time.monotonic() + 60
    while b"Ray runtime started" not in log.read_bytes():
        if head.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"Ray's head did not start on {address}:{port}: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def _end_the_rest(folder: str) -> None:
    """What Ray started and has not ended, by the folder that each is told; workers end with these."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and folder in _command(process):
            os.kill(int(process.name), signal.SIGKILL)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
