"""The cases that need no network, by kind: each a function of chance that gives how many cases it was."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from benchmarks.hostile import bitstreams, packets, pictures, sdp, seams
from benchmarks.hostile import settings as environments
from benchmarks.hostile.ends import AnyFace, Enhancing, Receiving

HANG = 60  # seconds after which a case is said to hang: every thread's stack is printed, and the process ends
MOST_CPU = 5.0  # seconds of processor time that a case may take
RUN = 40  # packets, or frames, that one receiver gets

Case = Callable[[Random], int]


@contextmanager
def bounded() -> Iterator[None]:
    """Around a case. Raises AssertionError where it took far more processor time than any may."""
    faulthandler.dump_traceback_later(HANG, exit=True, file=sys.__stderr__)
    started = time.thread_time()
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
    taken = time.thread_time() - started
    assert taken < MOST_CPU, f"a case took {taken:.1f} s of processor time"


def offers(rng: Random) -> int:
    seams.offer(sdp.offer(rng))
    return 1


def fragments(rng: Random) -> int:
    seams.fragment(sdp.fragment(rng))
    return 1


def settings(rng: Random) -> int:
    seams.settings(environments.environment(rng))
    return 1


def photos(rng: Random) -> int:
    seams.photo(pictures.picture(rng), AnyFace(rng))
    return 1


def rtp_and_rtcp(rng: Random) -> int:
    """As many as `RUN`, or a storm, to the ends of one session."""

    async def run() -> int:
        to = Receiving()
        sent = packets.storm(rng, to.target) * 2 if rng.random() < 0.2 else []
        while len(sent) < RUN:
            sent.append((packets.rtp if rng.random() < 0.6 else packets.rtcp)(rng, to.target))
        for number, data in enumerate(sent):
            (to.rtcp if 192 <= data[1] < 224 else to.rtp)(data)
            if number % 20 == 19:
                to.wait(rng.choice((0.01, 0.1, 1.1)))
        await to.close()
        return len(sent)

    return asyncio.run(run())


def vp8(rng: Random) -> int:
    frames = bitstreams.frames(rng, "VP8")
    seams.decoded("VP8", frames, rng)
    return len(frames)


def h264(rng: Random) -> int:
    frames = bitstreams.frames(rng, "H264")
    seams.decoded("H264", frames, rng)
    return len(frames)


def sizes(rng: Random) -> int:
    """A stream whose frames change their size, with faces found anywhere."""
    to = Enhancing(rng)
    try:
        for _ in range(6):
            to.frame(*rng.choice(bitstreams.SIZES if rng.random() < 0.05 else SMALL), rng)
    finally:
        to.close()
    return 6


SMALL = tuple(size for size in bitstreams.SIZES if max(size) <= 320)
KINDS: dict[str, Case] = {
    "SDP offers": offers,
    "fragments": fragments,
    "settings": settings,
    "photos": photos,
    "RTP and RTCP": rtp_and_rtcp,
    "VP8 frames": vp8,
    "H264 frames": h264,
    "frames of changing sizes": sizes,
}
SHARES = {
    "SDP offers": 0.2,
    "fragments": 0.1,
    "settings": 0.1,
    "photos": 0.15,
    "RTP and RTCP": 0.2,
    "VP8 frames": 0.1,
    "H264 frames": 0.1,
    "frames of changing sizes": 0.05,
}
"""Of the cases that need no network."""
