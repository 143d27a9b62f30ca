"""The body of `hime load`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httpx

from hime_core.errors import InputError
from server.client.link import parse_link
from server.client.load import report
from server.client.load.call import CallPlan
from server.client.load.encoded import ENCODERS, encode
from server.client.load.group import TIMEOUT, Group, LocalGroup
from server.client.load.metrics import RelayCounts, relay_counts
from server.client.load.processes import ProcessGroup, WorkerDied
from server.client.load.ramp import Ramp, RampPlan
from server.client.load.step import Step
from server.media.send.encoder import Codec

VIEWS, LAYOUTS = ("enhanced", "original"), ("upscale", "native")
MOST_CALLS, MOST_UNTIL_FULL = 2000, 500
KBPS, WIDTH = (10, 50_000), (16, 1920)


@dataclass(frozen=True)
class LoadOptions:
    """As the command line has them. size: empty for the clip's shape; steps: numbers of calls by commas, or empty;
    calls: None for one, or as many as until_full may try."""

    url: str
    clip: Path
    calls: int | None = None
    steps: str = ""
    watchers: int = 1
    room: str | None = None
    together: bool = False
    ramp: float = 0.5
    settle: float = 2.0
    seconds: float = 10.0
    until_full: bool = False
    limit_ms: float = 300.0
    view: str = "enhanced"
    layout: str = "upscale"
    width: int | None = None
    codec: str = "VP8"
    kbps: int = 500
    size: str = ""
    loop_from: float = 0.0
    token: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    whip: str = CallPlan.whip
    whep: str = CallPlan.whep
    processes: int = 1


def load(options: LoadOptions, as_json: bool = False) -> int:
    """Runs it all and tells what was measured. 0, or 1 where nothing could be. Raises InputError."""
    ramp = ramp_plan(options)
    plan = call_plan(options, ramp.steps[-1])
    try:
        steps, refused = asyncio.run(_load(plan, ramp, options.processes, as_json))
    except WorkerDied as error:
        print(f"hime: {error}", file=sys.stderr)
        return 1
    if not any(step.calls for step in steps):
        print(f"hime: nothing was measured at {plan.base}: {report.reasons(refused)}", file=sys.stderr)
        return 1
    told = report.summary(steps, ramp.limit, ramp.until_full, plan.clip.fps)
    if as_json:
        print(json.dumps(report.document(steps, _told(options, plan, ramp), plan.clip.fps)))
    else:
        print(told)
    return 0


def ramp_plan(options: LoadOptions) -> RampPlan:
    """Raises InputError."""
    if options.steps:
        if options.calls is not None:
            raise InputError("--steps and --calls: give one of both; the last step says how many calls there are")
        try:
            steps: Sequence[int] = [int(step) for step in options.steps.split(",")]
        except ValueError:
            steps = []
        if not steps or steps != sorted(set(steps)) or steps[0] < 1 or steps[-1] > MOST_CALLS:
            raise InputError(f"--steps {options.steps}: give rising numbers from 1 to {MOST_CALLS}, such as 1,2,4,8")
    else:
        calls = options.calls or (MOST_UNTIL_FULL if options.until_full else 1)
        steps = range(1, calls + 1) if options.until_full else (calls,)
    return RampPlan(steps, options.ramp, options.settle, options.seconds, options.limit_ms / 1000, options.until_full)


def call_plan(options: LoadOptions, most: int) -> CallPlan:
    """With the clip encoded, for that many calls at most. Raises InputError."""
    for name, value, known in (
        ("view", options.view, VIEWS), ("layout", options.layout, LAYOUTS), ("codec", options.codec, tuple(ENCODERS)),
    ):  # fmt: skip
        if value not in known:
            raise InputError(f"--{name} {value}: give {' or '.join(known)}")
    for name, number, (lowest, highest) in (("kbps", options.kbps, KBPS), ("width", options.width, WIDTH)):
        if number is not None and not lowest <= number <= highest:
            raise InputError(f"--{name} {number}: give a number from {lowest} to {highest}")
    if options.key is not None and ":" not in options.key:
        raise InputError("--key: give NAME:SECRET, as a line of HIME_API_KEYS has them")
    for name, template in (("whip", options.whip), ("whep", options.whep)):
        if not (template.startswith("/") and ("{room}" in template or "{name}" in template)):
            raise InputError(
                f"--{name} {template}: give a path with {{room}} or {{name}}, such as /whip/{{room}}/{{name}}"
            )
    # A relay of somebody else's may have one token for all, of whatever kind; a room token is for one name.
    opaque = options.token if options.token and options.token.count(".") != 2 else None
    link = parse_link(options.url, options.room, None, None if opaque else options.token, ("load", "load"))
    if link.token and not options.key and most > 1:
        raise InputError("the token is for one name in one room: give --calls 1, or --key NAME:SECRET in its place")
    query = {"view": options.view, "layout": options.layout}
    if options.width is not None:
        query["width"] = str(options.width)
    codec = cast(Codec, options.codec)
    return CallPlan(
        base=link.base,
        clip=encode(options.clip, codec, options.kbps, _size(options.size), options.loop_from),
        room=link.room,
        name=link.name,
        alone=bool(link.token) and not options.key,
        together=options.together,
        watchers=options.watchers,
        query="&".join(f"{name}={value}" for name, value in query.items()),
        whip=options.whip,
        whep=options.whep,
        token=opaque or link.token,
        key=options.key or "",
    )


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if found is None or not all(16 <= int(side) <= 1920 and int(side) % 2 == 0 for side in found.groups()):
        raise InputError(f"--size {text}: give even numbers of pixels from 16 to 1920, such as 640x360")
    return int(found[1]), int(found[2])


async def _load(plan: CallPlan, ramp: RampPlan, processes: int, quiet: bool) -> tuple[list[Step], Mapping[str, int]]:
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)

    async def wait(seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), seconds)
        return over.is_set()

    headers = {"Authorization": f"Bearer {plan.key or plan.token}"} if plan.key or plan.token else {}
    steps: list[Step] = []
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=plan.base, timeout=TIMEOUT, trust_env=False, verify=ssl.create_default_context())
        )
        group = await stack.enter_async_context(_group(plan, processes))

        async def relay() -> RelayCounts | None:
            return await relay_counts(http, headers)

        measuring = Ramp(ramp, group, relay, wait)
        if not quiet:
            print(report.heading(), flush=True)
        async for step in measuring.steps():
            steps.append(step)
            if not quiet:
                print(report.line(step), flush=True)
    return steps, measuring.refused


@asynccontextmanager
async def _group(plan: CallPlan, processes: int) -> AsyncIterator[Group]:
    group: Group = LocalGroup(plan) if processes == 1 else ProcessGroup(plan, processes)
    try:
        yield group
    finally:
        await group.close()


def _told(options: LoadOptions, plan: CallPlan, ramp: RampPlan) -> dict[str, object]:
    """What was asked for, without secrets."""
    clip = plan.clip
    return {
        "steps": list(ramp.steps) if options.steps or not ramp.until_full else f"1 to {ramp.steps[-1]}",
        "watchers": plan.watchers,
        "together": plan.together,
        "until_full": ramp.until_full,
        "ramp_s": ramp.ramp,
        "settle_s": ramp.settle,
        "seconds": ramp.seconds,
        "limit_ms": 1000 * ramp.limit,
        "view": options.view,
        "layout": options.layout,
        "width": options.width,
        "processes": options.processes,
        "clip": {
            "codec": clip.codec,
            "width": clip.size[0],
            "height": clip.size[1],
            "fps": clip.fps,
            "kbps": options.kbps,
            "seconds": len(clip.frames) / clip.fps,
        },
    }
