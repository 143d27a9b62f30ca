"""Programs that the measurement runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Failed(RuntimeError):
    """A program ended with an error; the message has its last lines."""


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """What the program printed, errors included. Raises Failed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise Failed(f"{' '.join(str(part) for part in command[:6])}: exit code {done.returncode}\n{last}")
    return done.stdout


def start(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=out, stderr=subprocess.STDOUT)
