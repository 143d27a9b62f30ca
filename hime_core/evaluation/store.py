"""Figures kept in a runs folder, so that tables can be measured one after the other and none twice."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

Record = dict[str, Any]  # figures and what they were measured from, as JSON holds them


class Store:
    """One JSON file a measurement: {"inputs", "figures", "seconds", "machine"}. What was measured from other inputs is
    measured anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: list[Record] = []  # the files that `get` answered from, or wrote

    def get(self, name: str, inputs: Record, measure: Callable[[], Record]) -> Record:
        """The figures of that name and those inputs (anything JSON can hold), measured where they are not at hand."""
        path = self.folder / f"{name}.json"
        inputs = json.loads(json.dumps(inputs))
        if path.is_file():
            kept = json.loads(path.read_text())
            if kept["inputs"] == inputs:
                self.used.append(kept)
                found: Record = kept["figures"]
                return found
        start = time.monotonic()
        figures = measure()
        kept = {"inputs": inputs, "seconds": time.monotonic() - start, "machine": machine(), "figures": figures}
        write_json(path, kept)
        self.used.append(kept)
        return figures

    def read(self, name: str) -> Record | None:
        """The whole file of that name, or None."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, content: object) -> None:
    """Writes whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def machine() -> str:
    """Processor and, where there is one, GPU: what a figure of time depends on."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):  # other systems than Linux have no such file, and keep platform's name
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} × {name}{gpu}"


def digest(path: Path) -> str:
    """What tells one version of a file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
