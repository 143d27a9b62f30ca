"""What several workers cost before the first call: each process' memory, and a request's way through the front.

    .venv/bin/python -m benchmarks.calls.workers

Memory of its own is `Private_Dirty` of /proc/PID/smaps_rollup (Linux).
Requests are OPTIONS of a WHIP address, one after the other, with one worker, which is the relay itself, and
with two behind a front.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.calls.performance_report import table
from server.child import RelayProcess


def memory(pid: int) -> dict[str, float]:
    """MiB of a process, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, value in (line.split(":") for line in lines)}


def children(pid: int) -> list[int]:
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return sorted(int(each) for pids in lists for each in pids)


def kind(pid: int) -> str:
    """What a front's process is for."""
    return "engine" if b"server.engines" in Path(f"/proc/{pid}/cmdline").read_bytes() else "worker"


def milliseconds(url: str, count: int) -> list[float]:
    taken = []
    with httpx.Client(base_url=url, timeout=60) as http:
        for _ in range(count):
            began = time.perf_counter()
            http.options("/whip/room/name").raise_for_status()
            taken.append((time.perf_counter() - began) * 1000)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    count = parser.parse_args().requests
    processes, requests = [], []
    for workers in (1, 2):
        with RelayProcess({"HIME_WORKERS": str(workers)}) as relay:
            median, late = np.percentile(milliseconds(relay.url, count), (50, 95))
            requests.append([str(workers), f"{median:.1f}", f"{late:.1f}"])
            below = children(relay.pid)
            for pid in (relay.pid, *below):
                found = memory(pid)
                name = kind(pid) if pid in below else "front" if below else "the relay itself"
                processes.append([str(workers), name, f"{found['Private_Dirty']:.0f}", f"{found['Rss']:.0f}"])
    print(*table(["workers", "process", "its own, MiB", "resident, MiB"], processes), sep="\n")
    print()
    print(*table(["workers", "request, median, ms", "95th percentile, ms"], requests), sep="\n")
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
