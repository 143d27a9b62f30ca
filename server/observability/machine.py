"""How busy the processor and the graphics card are, from /proc and NVML; what cannot be told is None."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

MIB = 2**20


class Usage(NamedTuple):
    """Since the look before. cpu_cores: that the relay kept busy; cpu_share, gpu_share: of the whole machine, 0..1."""

    cpu_cores: float | None = None
    cpu_share: float | None = None
    memory_mib: float | None = None
    gpu_share: float | None = None
    gpu_memory_mib: float | None = None


class Machine:
    def __init__(
        self,
        proc: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        others: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        """proc: where the kernel tells; cpu: seconds of processor time that this process has had; others: processes
        that belong to it, by their ids, whose time and memory count as its own."""
        self._proc, self._clock, self._cpu, self._others = proc, clock, cpu, others
        self._gpu = _first_gpu()
        self._seconds: dict[int, float] = {}  # of processor time, of each of the others
        self._others_seconds(others())
        self._before = self._clock(), self._cpu(), self._jiffies()

    def look(self) -> Usage:
        """Blocks: reads some small files of the kernel's, and asks NVML, which may take as long as the driver does."""
        (then, used_then, all_then), now = self._before, (self._clock(), self._cpu(), self._jiffies())
        self._before, others = now, list(self._others())
        used = now[1] - used_then + self._others_seconds(others)
        cores = used / (now[0] - then) if now[0] > then else None
        share = None
        if all_then is not None and now[2] is not None and now[2][1] > all_then[1]:
            share = (now[2][0] - all_then[0]) / (now[2][1] - all_then[1])
        return Usage(cores, share, self._memory(["self", *map(str, others)]), *self._card())

    def _jiffies(self) -> tuple[int, int] | None:
        """Busy and all, of all cores since the machine's start."""
        try:
            fields = [int(each) for each in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        idle = sum(fields[3:5])  # idle, and waiting for a disk
        return sum(fields) - idle, sum(fields)

    def _others_seconds(self, others: Iterable[int]) -> float:
        """Of processor time, since the look before; what one has had before the first look at it is left out."""
        before, self._seconds = self._seconds, {pid: used for pid in others if (used := self._used(pid)) is not None}
        return sum(max(0.0, used - before.get(pid, used)) for pid, used in self._seconds.items())

    def _used(self, pid: int) -> float | None:
        try:
            fields = (self._proc / f"{pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None

    def _memory(self, processes: Iterable[str]) -> float | None:
        """Of those that can be told of."""
        pages = []
        for process in processes:
            with suppress(OSError, ValueError, IndexError):
                pages.append(int((self._proc / process / "statm").read_text().split()[1]))
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / MIB if pages else None

    def _card(self) -> tuple[float | None, float | None]:
        if self._gpu is None:
            return None, None
        nvml, handle = self._gpu
        with suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100, nvml.nvmlDeviceGetMemoryInfo(handle).used / MIB
        return None, None


def _first_gpu() -> tuple[Any, Any] | None:
    """NVML and its handle of the first card, where `nvidia-ml-py` is installed and there is one."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError:
        return None
