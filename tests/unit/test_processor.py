"""What the kernel says of the processor, from files made by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.load.processor import TICK, UNKNOWN, ProcessorLook
from tests.unit.test_shedding import Clock

MINE = sorted(os.sched_getaffinity(0))[0]
NOT_MINE = 4096


class Kernel:
    def __init__(self, root: Path, cores: float = 2.0, limit: str = "") -> None:
        """limit: microseconds of each 100000, or max; empty where the file is not there."""
        self.limit = limit
        self.root, self.clock, self.cpu = root, Clock(), 0.0
        self.idle = self.stalled = self.used = 0.0
        self.write()
        self.processor = ProcessorLook(cores, root, self.clock, lambda: self.cpu)

    def write(self) -> None:
        files = {
            "proc/stat": f"cpu  1 2 3 4 5 6 7\ncpu{MINE} 0 0 0 {round(self.idle * TICK)} 0 0 0\n"
            f"cpu{NOT_MINE} 0 0 0 {round(100 * self.idle * TICK)} 0 0 0\nintr 1 2\n",
            "proc/pressure/cpu": f"some avg10=0.00 avg60=0.00 avg300=0.00 total={round(1e6 * self.stalled)}\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        }
        if self.used:
            files["sys/fs/cgroup/cpu.stat"] = f"usage_usec {round(1e6 * self.used)}\nuser_usec 1\n"
            if self.limit:
                files["sys/fs/cgroup/cpu.max"] = f"{self.limit} 100000\n"
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def second(self, idle: float, stalled: float = 0.0, own: float = 0.0, used: float = 0.0):
        self.idle, self.stalled, self.cpu = self.idle + idle, self.stalled + stalled, self.cpu + own
        self.used += used
        self.clock.now += 1
        self.write()
        return self.processor.look()


def test_idle_stalled_and_own_time(tmp_path: Path) -> None:
    found = Kernel(tmp_path).second(0.5, 0.25, 1.5)
    assert (found.spare, found.stalled, found.own) == (pytest.approx(0.5), pytest.approx(0.25), pytest.approx(1.5))


def test_what_is_told_is_smoothed(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.second(1.0)
    assert kernel.second(0.0).spare == pytest.approx(0.7)


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, cores=0.5, limit="50000")
    kernel.second(1.0, used=0.1)  # the first that its file is there for
    assert kernel.second(1.0, used=0.4).spare == pytest.approx(0.5 + 0.3 * (0.1 - 0.5))


@pytest.mark.parametrize("limit", ["", "max"])
def test_without_a_limit_what_others_take_of_other_processors_is_not_counted(tmp_path: Path, limit: str) -> None:
    kernel = Kernel(tmp_path, cores=1.0, limit=limit)
    kernel.second(1.0, used=8.0)
    assert kernel.second(1.0, used=8.0).spare == 1


def test_a_containers_own_pressure_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "sys/fs/cgroup/cpu.pressure"
    own.parent.mkdir(parents=True)
    own.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    assert Kernel(tmp_path).second(1.0, stalled=0.9).stalled == 0


def test_what_cannot_be_told_is_none(tmp_path: Path) -> None:
    clock = Clock()
    processor = ProcessorLook(2.0, tmp_path / "nothing", clock, lambda: 0.0)
    assert processor.look() == UNKNOWN
    clock.now += 1
    assert (processor.look().spare, processor.look().stalled) == (None, None)
    (tmp_path / "nothing/proc").mkdir(parents=True)
    (tmp_path / "nothing/proc/stat").write_text("nonsense\n")
    clock.now += 1
    assert (processor.look().spare, processor.look().stalled) == (None, None)
