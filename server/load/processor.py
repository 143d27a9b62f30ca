"""How short the processor is, by the kernel's own figures; what cannot be told is None."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
SMOOTHING = 0.3
PRESSURE = (Path("sys/fs/cgroup/cpu.pressure"), Path("proc/pressure/cpu"))  # a container's own first


@dataclass(frozen=True)
class Processor:
    """spare: cores that this process may use and nobody does; stalled: share of the time in which somebody who could
    run had to wait, 0..1; own: cores that this process has kept busy."""

    spare: float | None
    stalled: float | None
    own: float


UNKNOWN = Processor(None, None, 0.0)


class ProcessorLook:
    """Since the look before, smoothed. look() reads some small files of the kernel's."""

    def __init__(
        self,
        cores: float,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """cores: that this process may use, fractions where a container has them. root: where the kernel tells."""
        self._cores, self._root, self._clock, self._cpu = cores, root, clock, cpu
        self._allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self._now: Processor | None = None
        self._before = self._read()

    def look(self) -> Processor:
        then, self._before = self._before, self._read()
        seconds = self._before[0] - then[0]
        if seconds <= 0:
            return self._now or UNKNOWN
        own, idle, stalled, quota = ((_since(a, b), seconds) for a, b in zip(then[1:], self._before[1:], strict=True))
        spare = _rate(*idle)
        if spare is not None:
            spare = min(spare, self._cores)
            if (used := _rate(*quota)) is not None:  # a container's others share its limit
                spare = min(spare, max(0.0, self._cores - used))
        found = Processor(spare, _rate(*stalled), _rate(*own) or 0.0)
        self._now = found if self._now is None else _smoothed(self._now, found)
        return self._now

    def _read(self) -> tuple[float, float | None, float | None, float | None, float | None]:
        """The clock, then seconds since the beginning: this process's, idle, stalled, and the container's."""
        return self._clock(), self._cpu(), self._idle(), self._stalled(), self._used()

    def _idle(self) -> float | None:
        """Of the processors that this process may use."""
        with suppress(OSError, ValueError, IndexError):
            idle = []
            for line in (self._root / "proc/stat").read_text().splitlines():
                name, *fields = line.split()
                number = name.removeprefix("cpu")
                if number.isdigit() and (self._allowed is None or int(number) in self._allowed):
                    idle.append(int(fields[3]) + int(fields[4]))  # idle, and waiting for a disk
            return sum(idle) / TICK if idle else None
        return None

    def _stalled(self) -> float | None:
        for path in PRESSURE:
            with suppress(OSError, ValueError, IndexError):
                some = (self._root / path).read_text().splitlines()[0]
                return int(some.rpartition("total=")[2]) / 1e6
        return None

    def _used(self) -> float | None:
        """None without a limit: what is told may then be of the whole machine, of which this process has a part."""
        with suppress(OSError, ValueError, IndexError):
            if (self._root / "sys/fs/cgroup/cpu.max").read_text().startswith("max"):
                return None
            first = (self._root / "sys/fs/cgroup/cpu.stat").read_text().split("\n", 1)[0]
            name, value = first.split()
            return int(value) / 1e6 if name == "usage_usec" else None
        return None


def _since(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before


def _rate(amount: float | None, seconds: float) -> float | None:
    return None if amount is None else max(0.0, amount / seconds)


def _smoothed(before: Processor, now: Processor) -> Processor:
    def mean(a: float | None, b: float | None) -> float | None:
        return b if a is None or b is None else a + SMOOTHING * (b - a)

    own = before.own + SMOOTHING * (now.own - before.own)
    return Processor(mean(before.spare, now.spare), mean(before.stalled, now.stalled), own)
