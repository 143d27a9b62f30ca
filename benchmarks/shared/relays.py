"""The relays that are measured, each in a process of its own, and what a process or machine tells about itself."""

from __future__ import annotations

import multiprocessing
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client.parser import text_string_to_metric_families

TICK = os.sysconf("SC_CLK_TCK")
STARTING = 300  # seconds: on a busy machine, loading the network takes long


class Running(NamedTuple):
    url: str
    pid: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def counters(url: str) -> Counter[str]:
    """What /metrics counts: `frames_total enhanced`, `stage_duration_seconds_sum decode`, ... without the prefix."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(httpx.get(url + "/metrics", timeout=30).text):
        for sample in family.samples:
            labels = [value for _, value in sorted(sample.labels.items())]
            found[" ".join([sample.name.removeprefix("hime_"), *labels])] += sample.value
    return found


def difference(after: Counter[str], before: Counter[str]) -> Counter[str]:
    return Counter({name: value - before[name] for name, value in after.items()})


def machine() -> dict[str, Any]:
    """What ran the benchmark, without names. load: processes that wanted a core in the minute before."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    packages = ("aiortc", "av", "ncnn", "numpy", "opencv-python", "torch", "uvloop")
    return {
        "cpu": cpu or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": gpu(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# What is measured is the machine, not what the relay would refuse for its sake.
UNLIMITED = {f"HIME_MAX_{what}": "1000" for what in ("ROOMS", "PARTICIPANTS", "STREAMS", "WATCHERS")}


def gpu() -> str | None:
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def kept_to(cores: str) -> Callable[[], None] | None:
    """What keeps a process that begins to these processors, by their numbers with commas between; None where there are
    none. Raises ValueError where this process may not use one of them."""
    if not cores:
        return None
    try:
        numbers = {int(core) for core in cores.split(",")}
    except ValueError:
        raise ValueError(f"{cores} is no list of numbers, such as 0,1") from None
    if missing := numbers - os.sched_getaffinity(0):
        raise ValueError(f"there is no processor {', '.join(map(str, sorted(missing)))} here")
    return lambda: os.sched_setaffinity(0, numbers)


@contextmanager
def hime(
    weights: str | None,
    device: str | None,
    cores: str = "",
    checkout: Path | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Running]:
    """`hime serve`, ready. None: its defaults. cores: as kept_to(); checkout: of the repository, None for this one;
    settings: environment variables."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "server.cli", "serve", "--port", str(port), "--data", data]
        command += ["--weights", weights] if weights else []
        command += ["--device", device] if device else []
        command += ["--log-level", "error"]
        elsewhere = {"PYTHONPATH": str(checkout)} if checkout else {}
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            env=UNLIMITED | os.environ | elsewhere | dict(settings),
            cwd=checkout,
            preexec_fn=kept_to(cores),
        )
        try:
            yield Running(_ready(f"http://127.0.0.1:{port}", "/readyz", process.poll), process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


@contextmanager
def spawned(run: Any, *args: Any) -> Iterator[Running]:
    """A relay that `run(port, *args)` serves in a process of its own."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=run, args=(port, *args), daemon=True)
    process.start()
    try:
        yield Running(_ready(f"http://127.0.0.1:{port}", "/healthz", lambda: process.exitcode), process.pid or 0)
    finally:
        process.terminate()
        process.join(10)
        process.kill()


def _ready(url: str, path: str, ended: Any) -> str:
    end = time.monotonic() + STARTING
    while time.monotonic() < end:
        with suppress(httpx.HTTPError):
            if httpx.get(url + path).status_code == 200:
                return url
        if ended() is not None:
            raise RuntimeError("the relay has ended before it was ready; see its error above")
        time.sleep(0.2)
    raise TimeoutError(f"the relay was not ready within {STARTING} s")


def plain_aiortc(port: int) -> None:
    """A relay as aiortc's examples make it: MediaRelay between connections, codecs and buffers as they come."""
    app, relay = FastAPI(), MediaRelay()
    connections: dict[str, RTCPeerConnection] = {}
    published: dict[str, Any] = {}

    async def answered(pc: RTCPeerConnection, key: str) -> Response:
        connections[key] = pc
        await pc.setLocalDescription(await pc.createAnswer())
        return Response(pc.localDescription.sdp, 201, {"Location": f"/{key}"}, "application/sdp")

    @app.get("/healthz")
    async def healthy() -> dict[str, str]:
        return {}

    @app.post("/whip/{name}")
    async def publish(name: str, request: Request) -> Response:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.on("track", lambda track: published.update({name: track}))
        await pc.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
        return await answered(pc, f"in-{name}")

    @app.post("/whep/{name}")
    async def watch(name: str, request: Request) -> Response:
        if name not in published:
            raise HTTPException(404)
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        await pc.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
        pc.addTrack(relay.subscribe(published[name]))
        return await answered(pc, f"out-{name}")

    @app.delete("/{key}")
    async def leave(key: str) -> None:
        if key.startswith("in-"):
            published.pop(key.removeprefix("in-"), None)
        await connections.pop(key).close()

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def without_enhancement(port: int, threads: Any, bitrate: int) -> None:
    """The whole relay, with an engine and a detector that do nothing. bitrate: what video is encoded at, bit/s.

    threads: a connection; whatever comes through it is answered with each thread's CPU seconds by (ident, name), the
    event loop's as `event loop`.
    """

    from server.app import create_app  # here, as the light processes import this module too
    from server.settings import load_settings
    from server.standins import FailedDetector, FailedEngine

    def answer() -> None:
        while threads.recv():
            threads.send({(t.ident, t.name): thread_seconds(t) for t in threading.enumerate() if t.ident})

    threading.Thread(target=answer, name="benchmark", daemon=True).start()
    threading.current_thread().name = "event loop"
    bitrates = {f"video_{name}_bitrate": bitrate for name in ("min", "start", "max")}
    with tempfile.TemporaryDirectory() as data:
        app = create_app(load_settings(data=Path(data), **bitrates), FailedEngine(), FailedDetector())
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False)
        uvicorn.Server(config).run()  # on uvloop where it is installed, as `hime serve`


def thread_seconds(thread: threading.Thread) -> float:
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
