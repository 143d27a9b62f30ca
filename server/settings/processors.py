"""How much processor there is for this process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # what a container may use (cgroup v2)


def cores(limit: Path = CPU_MAX) -> float:
    """Processor cores that this process may use, fractions where a container has them."""
    there = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with suppress(OSError, ValueError):
        quota, period = limit.read_text().split()
        return min(there, int(quota) / int(period))  # "max": there is no limit
    return there
