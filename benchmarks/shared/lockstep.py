"""One enhanced call without a network, frame by frame: processor time by thread, and by function.

Run by path, with PYTHONPATH set to the tree that is measured; what it finds goes to standard output as JSON. Each frame
is sent once the one before has left and nothing is being worked on, on a clock that is set by hand: a busy machine
neither lowers what is asked of the engine nor leaves a frame out, so that the same work is done whatever else runs.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pickle
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as `hime serve`

import cv2

from hime_core.compositing.layout import USUAL_WIDTH
from hime_core.engine import build_engine
from hime_core.faces.damage import DamageEstimator
from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.faces.recognisers import load_recogniser
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from server.media.pipeline import VideoPipeline
from server.media.receive.decode import Decoder
from server.media.receive.jitter import ReceivedData
from server.observability.metrics import Metrics

SETTLED = 20  # frames on the rung before it is measured
PATIENCE = 30.0  # seconds: no frame is to leave without its answer

Times = dict[str, float]
Calls = dict[str, tuple[int, float]]


class Watcher:
    """Takes a track's frames, as the sender of one watcher does."""

    congested = False

    def __init__(self) -> None:
        self.came = asyncio.Event()

    def send(self, frame: Any) -> None:
        self.came.set()


class Profiles:
    """A profile of every thread that is started from here on, by the processor time of that thread."""

    def __init__(self) -> None:
        self._profiles: list[tuple[str, cProfile.Profile]] = []
        threading.setprofile(self._begin)

    def _begin(self, *_: Any) -> None:
        profile = cProfile.Profile(time.thread_time)
        self._profiles.append((threading.current_thread().name, profile))
        profile.enable()

    def calls(self) -> Calls:
        """How often each function was called so far, and its own seconds, by `thread: function`."""
        found: Calls = {}
        for thread, profile in self._profiles:
            for entry in profile.getstats():
                name = f"{thread}: {_named(entry.code)}"
                count, seconds = found.get(name, (0, 0.0))
                found[name] = count + entry.callcount, seconds + entry.inlinetime
        return found


def _named(code: Any) -> str:
    if isinstance(code, str):
        return code.strip("<>")
    return f"{Path(code.co_filename).parent.name}/{Path(code.co_filename).name} {code.co_qualname}"


async def call(clip: dict[str, Any], profiles: Profiles | None, rung: str = "") -> dict[str, Any]:
    """clip: `before`, encoded frames that are played first; `frames`, over which is measured; `fps`. rung: of the
    ladder of `hime_core/stream/ladder.py`, on which the stream is from some frames before those on; empty for trees
    that have none. Returns ms a frame by thread, calls and ms a frame by function, how often a frame each stage was
    gone through, the exemplars of the last frame's faces, and outcomes."""
    clock, frames = Clock(), len(clip["frames"])
    stages: Counter[str] = Counter()
    engine = build_engine("auto", "cpu")
    enhancer = Enhancer(
        engine, ScanningDetector(MtcnnDetector()), People(clock=clock), EnhancerConfig(patience=PATIENCE), clock,
        lambda stage, seconds: stages.update([stage]), DamageEstimator(), recogniser=load_recogniser(),
    )  # fmt: skip
    pipeline = VideoPipeline(enhancer, Metrics(), clock=clock)
    decoder = Decoder(pipeline, lambda: None, lambda: None, clock)
    pipeline.start()
    decoder.start()
    track, watcher = pipeline.watch("enhanced", "upscale", USUAL_WIDTH), Watcher()
    track.start(watcher)
    start: tuple[Times, Calls, Counter[str], Counter[str]] = ({}, {}, Counter(), Counter())
    for number, encoded in enumerate([*clip["before"], *clip["frames"]]):
        if rung and number == len(clip["before"]) - SETTLED:
            from hime_core.stream.ladder import LADDER

            pipeline.load.rung = next(one for one in LADDER if one.name == rung)
        if number == len(clip["before"]):
            start = threads(), profiles.calls() if profiles else {}, Counter(stages), Counter(pipeline.outcomes)
        clock.now += 1 / clip["fps"]
        stamp = number * 90000 // clip["fps"]
        watcher.came.clear()
        decoder.put("VP8", ReceivedData(encoded, stamp, clock.now, 96, 1, stamp))
        await asyncio.wait_for(watcher.came.wait(), PATIENCE)
        while busy(enhancer):
            await asyncio.sleep(0.001)
    used = [face.exemplars for face in enhancer.seen]
    end = threads(), profiles.calls() if profiles else {}, stages, pipeline.outcomes
    track.stop()
    decoder.close()
    await asyncio.to_thread(pipeline.close)
    engine.close()
    return {
        "threads": {name: 1000 * (used - start[0].get(name, 0.0)) / frames for name, used in end[0].items()},
        "functions": {name: _since(used, start[1].get(name, (0, 0.0)), frames) for name, used in end[1].items()},
        "stages": {name: (count - start[2][name]) / frames for name, count in end[2].items()},
        "exemplars": used,
        "outcomes": {name: count - start[3][name] for name, count in end[3].items()},
    }


def _since(now: tuple[int, float], before: tuple[int, float], frames: int) -> tuple[float, float]:
    """Calls and ms a frame."""
    return (now[0] - before[0]) / frames, 1000 * (now[1] - before[1]) / frames


class Clock:
    """Ahead of the machine's own, by which the engine knows what comes too late."""

    def __init__(self) -> None:
        self.now = time.monotonic() + 1e6

    def __call__(self) -> float:
        return self.now


def busy(enhancer: Enhancer) -> bool:
    """Whether a detection or a look is under way."""
    detection, look = enhancer._watch._pending, enhancer._sightings._pending
    return bool((detection and not detection[0].done()) or (look and not look.done()))


def threads() -> Times:
    """Seconds of processor time by thread, without this one, which plays the network."""
    found: Counter[str] = Counter()
    for thread in threading.enumerate():
        if thread.ident and thread is not threading.current_thread():
            name = thread.name.removesuffix("_0").removesuffix("-0")
            found[name] += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return dict(found)


def main() -> None:
    path, profiled, *rung = sys.argv[1:]
    cv2.setNumThreads(1)
    clip = pickle.loads(Path(path).read_bytes())
    profiles = Profiles() if profiled == "profile" else None
    json.dump(asyncio.run(call(clip, profiles, *rung)), sys.stdout)


if __name__ == "__main__":
    main()
