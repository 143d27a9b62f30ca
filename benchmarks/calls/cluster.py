"""How many calls that only pass through one, two and four nodes of a cluster hold, as `hime load` measures it.

    python -m benchmarks.calls.cluster [--nodes 1,2,4] [--share 0.25] [--steps 3,4,5,6,7,8,9,10,12,14] [--json OUT]

Each node is `hime serve --cluster` in a network namespace of its own, with an address of its own, and the load and
Ray's head in another; all are on one bridge. All run on this machine's processors, so each node may take a small
share of one only (cgroup), of which all together are fewer than there are: so many wide machines are simulated. The
load asks the first node about every room, and goes where that says. Steps are calls per node; they end at the first at
which not all calls are held. Pictures are small and few, so that a share of a processor holds several calls. Needs
root, `ip` and a writable cgroup; uses no network but its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.shared import relays
from server.exemplars.keys import new_key
from server.settings.keys import write_key

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "198.18.0"  # for benchmarks of networks (RFC 2544)
HEAD, RAY_PORT, PORT = f"{BLOCK}.1", 6379, 8080
PERIOD_US = 20_000  # within which a share is given out: the latency that a share costs
READY_WITHIN = 300  # seconds
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
FPS, WIDTH, HEIGHT, SECONDS = 10, 160, 90, 10
CLIP = ("--size", f"{WIDTH}x{HEIGHT}", "--kbps", "60", "--view", "original", "--layout", "native")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def within(space: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", space, *command]


@contextmanager
def spaces(count: int) -> Iterator[list[str]]:
    """Namespaces by name: that of the head and the load, with the bridge, then one for each node."""
    names = [f"hime-{os.getpid()}-{number}" for number in range(count + 1)]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run(*within(name, "ip", "link", "set", "lo", "up"))
        first = names[0]
        run(*within(first, "ip", "link", "add", "bridge", "type", "bridge"))
        run(*within(first, "ip", "address", "add", f"{HEAD}/24", "dev", "bridge"))
        run(*within(first, "ip", "link", "set", "bridge", "up"))
        for number, name in enumerate(names[1:], 1):
            port = f"node{number}"
            run(*within(first, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name))
            run(*within(first, "ip", "link", "set", port, "master", "bridge", "up"))
            run(*within(name, "ip", "address", "add", f"{address(number)}/24", "dev", "eth0"))
            run(*within(name, "ip", "link", "set", "eth0", "up"))
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def address(number: int) -> str:
    return f"{BLOCK}.{10 + number}"


def write_clip(path: Path) -> None:
    """A bright square that goes over grey."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FPS * SECONDS):
            picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            left = WIDTH * number // (FPS * SECONDS)
            picture[30:60, left : left + 30] = 220
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


@contextmanager
def process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with open(log, "wb") as out:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **QUIET, **environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, 9)
            started.wait()


class Share:
    """A cgroup of its own with a share of one processor, in either version of cgroups."""

    def __init__(self, name: str, share: float) -> None:
        """Raises OSError where it may not be made."""
        old = Path("/sys/fs/cgroup/cpu")
        self.folder = (old if old.is_dir() else old.parent) / name
        self.folder.mkdir()
        quota = round(share * PERIOD_US)
        if old.is_dir():
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self.folder / "cpu.max").write_text(f"{quota} {PERIOD_US}")

    def add(self, pid: int) -> None:
        """The process, with its threads and all that it has started."""
        (self.folder / "cgroup.procs").write_text(str(pid))
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                self.add(int(child))

    def close(self) -> None:
        for _ in range(50):
            try:
                self.folder.rmdir()
                return
            except OSError:  # its last process is just ending
                time.sleep(0.1)


def nodes_of(names: list[str], folder: Path, share: float, stack: ExitStack) -> str:
    """Starts the head and the nodes; the first node's URL, when all nodes know each other."""
    ray = str(Path(sys.executable).parent / "ray")
    head = [ray, "start", "--head", "--block", f"--node-ip-address={HEAD}", f"--port={RAY_PORT}", "--num-cpus=1"]
    head += ["--object-store-memory=80000000", "--include-dashboard=false", f"--temp-dir={folder}/ray"]
    stack.enter_context(process(within(names[0], *head), folder / "head.log", {"PYTHONPATH": str(ROOT)}))
    until(lambda: "Ray runtime started" in (folder / "head.log").read_text(), "Ray's head does not start")
    common = {
        **relays.UNLIMITED,
        "HIME_SESSIONS_PER_MINUTE": "100000",
        "HIME_OPEN": "1",
        "HIME_CLUSTER_ADDRESS": f"{HEAD}:{RAY_PORT}",
        "HIME_DATABASE_URL": f"sqlite:///{folder}/hime.db",
        "HIME_PHOTOS_URL": f"file://{folder}/photos",
        "HIME_DATA_KEY": write_key(new_key()),
        "HIME_DEVICE": "cpu",
    }
    shares = []
    for number, name in enumerate(names[1:], 1):
        url = f"http://{address(number)}:{PORT}"
        serve = [sys.executable, "-m", "server.cli", "serve", "--cluster", "--host", address(number)]
        serve += ["--port", str(PORT), "--data", f"{folder}/{number}", "--log-level", "error"]
        log = folder / f"node{number}.log"
        one = Share(name, share)
        stack.callback(one.close)
        node = stack.enter_context(process(within(name, *serve), log, {**common, "HIME_PUBLIC_URL": url}))
        until(lambda log=log: "is ready on" in log.read_text(), f"node {number} does not start")  # type: ignore[misc]
        shares.append((one, node.pid))
    until(lambda: len(told(names[0], "any")["nodes"]) == len(names) - 1, "the nodes do not know each other")
    for one, pid in shares:  # not before: they would take minutes to start
        one.add(pid)
    return f"http://{address(1)}:{PORT}"


ASK = "import sys, httpx; print(httpx.get(sys.argv[1], trust_env=False).text)"


def told(space: str, room: str) -> dict[str, Any]:
    ask = within(space, sys.executable, "-c", ASK, f"http://{address(1)}:{PORT}/api/rooms/{room}/node")
    done = subprocess.run(ask, capture_output=True, text=True)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"nodes": []}


def until(condition: Any, words: str) -> None:
    end = time.monotonic() + READY_WITHIN
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(words)
        time.sleep(0.5)


def measured(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """What `hime load` told of so many nodes."""
    folder = Path(tempfile.mkdtemp(prefix="hc-", dir="/tmp"))
    try:
        with ExitStack() as stack:
            names = stack.enter_context(spaces(count))
            url = nodes_of(names, folder, options.share, stack)
            steps = ",".join(str(count * int(step)) for step in options.steps.split(","))
            write_clip(folder / "clip.mp4")
            load = [sys.executable, "-m", "server.cli", "load", url, "--json", "--until-full", *CLIP]
            load += ["--clip", str(folder / "clip.mp4")]
            load += ["--steps", steps, "--ramp", "0.4", "--seconds", "8", "--limit-ms", str(options.limit_ms)]
            done = subprocess.run(within(names[0], *load), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            return dict(json.loads(done.stdout))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,2,4", help="how many, with commas between")
    parser.add_argument("--share", type=float, default=0.25, help="of a processor that a node may take")
    parser.add_argument("--steps", default="3,4,5,6,7,8,9,10,12,14", help="calls per node, with commas between")
    parser.add_argument("--limit-ms", type=float, default=300, help="in which 95 %% of a held call's frames come")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    for count in (int(one) for one in options.nodes.split(",")):
        found[count] = measured(count, options)
        first = found[min(found)]["held"] / min(found)
        held = found[count]["held"]
        ratio = held / (first * count) if first else 0.0
        behind = any(step["load_behind"] for step in found[count]["steps"])
        note = "; the load itself was too slow in some step" if behind else ""
        print(f"{count} node{'s' if count > 1 else ''}: {held} calls held, {ratio:.2f} of linear{note}", flush=True)
        for step in found[count]["steps"]:
            figures = (
                f"p95 {step['p95_ms']:.0f} ms, {100 * step['came']:.0f} % came, load {step['load_cores']:.2f} cores"
            )
            print(f"   {step['calls']:3} calls: {step['held']:3} held, {figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": relays.machine(), "share": options.share, "nodes": found}))


if __name__ == "__main__":
    main()
