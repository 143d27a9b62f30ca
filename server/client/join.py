"""`hime join`: a participant that publishes a clip, and records whom it watches."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
from aiortc import MediaStreamTrack
from aiortc.contrib.media import MediaRecorder
from aiortc.mediastreams import MediaStreamError

from hime_core.errors import InputError
from server.client.clip import Clip, LentTrack
from server.client.link import Link
from server.client.nodes import Nodes
from server.client.peer import CONNECTED_WITHIN, Connection, Refused, participants
from server.client.rejoin import Kept

POLL = 0.5  # seconds between looks at who is there
FORMATS = (".mp4", ".mkv", ".mov")


@dataclass(frozen=True)
class JoinOptions:
    """watch: whom; empty: the first other participant, or, where nobody else is there, oneself if a clip is published.
    seconds: how long at most; None: until the clip or the watched one's stream ends, or a signal comes. rejoin: whether
    sessions that are lost are made anew, at another node where there is one."""

    link: Link
    publish: Path | None = None
    record: Path | None = None
    watch: str = ""
    view: str = "enhanced"
    layout: str = "upscale"
    loop: bool = False
    seconds: float | None = None
    rejoin: bool = False


def join(options: JoinOptions, as_json: bool = False) -> None:
    """Runs until it is over, and tells what was sent and received. Raises InputError."""
    if options.publish is None and options.record is None and not options.watch:
        raise InputError("nothing is to be done: give --publish CLIP, --watch NAME or --record OUT")
    if options.record is not None and options.record.suffix.lower() not in FORMATS:
        raise InputError(f"--record {options.record}: give a file whose name ends in {', '.join(FORMATS)}")
    if options.record is not None and options.rejoin:
        raise InputError("--record ends with its session: leave --rejoin out")
    try:
        told = asyncio.run(_join(options))
    except TimeoutError:
        raise InputError(
            f"no connection came about within {CONNECTED_WITHIN:.0f} s: UDP may be blocked between here and the relay"
        ) from None
    if as_json:
        print(json.dumps(told))
    else:
        print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in told.items() if value is not None))


async def _join(options: JoinOptions) -> dict[str, Any]:
    link, began = options.link, time.monotonic()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    async with AsyncExitStack() as stack:
        # What the system trusts, or SSL_CERT_FILE names: a LAN's relay has a certificate of its own authority.
        trusted = ssl.create_default_context()
        client = httpx.AsyncClient(base_url=link.base, timeout=20, trust_env=False, verify=trusted)
        http = await stack.enter_async_context(client)
        clip = publisher = None
        if options.publish is not None:
            clip = Clip(options.publish, options.loop)
            stack.push_async_callback(asyncio.to_thread, clip.close)
        nodes = Nodes(http, link)
        link = await nodes.find()
        watcher = _Watcher(options.record)
        if options.rejoin:
            stack.push_async_callback(watcher.close)
            sessions = await _keep(options, http, nodes, clip, watcher, over)
            return _told(began, clip, watcher, None) | {"sessions": sessions}
        others = [name for name in await participants(http, link) if name != link.name]
        if clip is not None:
            publisher = Connection(http, link)
            stack.push_async_callback(publisher.close)
            await publisher.publish(clip.tracks)
            print(f"{link.name} is in room {link.room}", file=sys.stderr, flush=True)
        if options.record is not None or options.watch:
            whom = options.watch or (others[0] if others else link.name if clip else "")
            connection = Connection(http, link)
            stack.push_async_callback(watcher.close)
            stack.push_async_callback(connection.close)
            whom = await _present(http, link, whom, over)
            if whom:
                await connection.watch(whom, f"view={options.view}&layout={options.layout}", watcher.take)
                await watcher.start()
        await _until_over(options, over, clip, [one for one in (publisher,) if one], watcher)
    return _told(began, clip, watcher, options.record)


def _told(began: float, clip: Clip | None, watcher: _Watcher, record: Path | None) -> dict[str, Any]:
    return {
        "seconds": round(time.monotonic() - began, 1),
        "frames_sent": clip.tracks[0].sent if clip else None,
        "frames_received": watcher.frames if watcher.started else None,
        "size": "{}x{}".format(*watcher.size) if watcher.size else None,
        "recorded": str(record) if record and watcher.frames else None,
    }


async def _keep(
    options: JoinOptions,
    http: httpx.AsyncClient,
    nodes: Nodes,
    clip: Clip | None,
    watcher: _Watcher,
    over: asyncio.Event,
) -> int:
    """Publishes and watches until it is over; how many sessions there were. Raises Refused and TimeoutError."""

    async def publish(connection: Connection, link: Link) -> None:
        assert clip is not None
        await connection.publish([LentTrack(track) for track in clip.tracks])
        print(f"{link.name} is in room {link.room}", file=sys.stderr, flush=True)

    async def watch(connection: Connection, link: Link) -> None:
        if whom := await _present(http, link, options.watch, over):
            await connection.watch(whom, f"view={options.view}&layout={options.layout}", watcher.take)
            await watcher.start()

    kept = [Kept(http, nodes, publish, publishes=True)] if clip else []
    if options.watch:
        kept.append(Kept(http, nodes, watch, publishes=False))
    running = [asyncio.create_task(one.run()) for one in kept]
    waiting = asyncio.create_task(over.wait())
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    try:
        while not over.is_set() and not (clip is not None and clip.tracks[0].readyState == "ended"):
            if deadline is not None and time.monotonic() > deadline:
                break
            done, _ = await asyncio.wait([*running, waiting], timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            for task in done.intersection(running):
                task.result()
    finally:
        for task in (*running, waiting):
            task.cancel()
        await asyncio.gather(*running, waiting, return_exceptions=True)
    return sum(one.sessions for one in kept)


async def _present(http: httpx.AsyncClient, link: Link, name: str, over: asyncio.Event) -> str:
    """Waits until that participant sends, or anybody else where no name is given; empty where it is over before."""
    while not over.is_set():
        there = await participants(http, link)
        if name in there:
            return name
        if not name and (others := [one for one in there if one != link.name]):
            return others[0]
        await asyncio.sleep(POLL)
    return ""


async def _until_over(
    options: JoinOptions, over: asyncio.Event, clip: Clip | None, connections: list[Connection], watcher: _Watcher
) -> None:
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    while not over.is_set():
        if deadline is not None and time.monotonic() > deadline:
            return
        if any(one.ended.is_set() for one in connections):
            raise Refused("the relay ended the connection")
        if clip is not None and clip.tracks[0].readyState == "ended":
            return
        if clip is None and watcher.ended.is_set():
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.1)


class _Watcher:
    """Counts what is watched, and records it where a file is named."""

    def __init__(self, record: Path | None) -> None:
        self.frames, self.size = 0, (0, 0)
        self.started, self.ended = False, asyncio.Event()
        self._recorder = MediaRecorder(str(record)) if record is not None else None
        self._reading: list[asyncio.Task[None]] = []

    def take(self, track: MediaStreamTrack) -> None:
        counted = _Counted(track, self) if track.kind == "video" else track
        if self._recorder is not None:
            self._recorder.addTrack(counted)
        else:
            self._reading.append(asyncio.ensure_future(_drained(counted)))

    async def start(self) -> None:
        self.started = True
        if self._recorder is not None:
            await self._recorder.start()

    async def close(self) -> None:
        for task in self._reading:
            task.cancel()
        if self._recorder is not None and self.started:
            await self._recorder.stop()


class _Counted(MediaStreamTrack):
    kind = "video"

    def __init__(self, track: MediaStreamTrack, watcher: _Watcher) -> None:
        super().__init__()
        self._track, self._watcher = track, watcher

    async def recv(self) -> Any:
        try:
            frame = await self._track.recv()
        except MediaStreamError:
            self._watcher.ended.set()
            raise
        if isinstance(frame, av.VideoFrame):
            self._watcher.frames += 1
            self._watcher.size = frame.width, frame.height
        return frame


async def _drained(track: MediaStreamTrack) -> None:
    with suppress(MediaStreamError):
        while True:
            await track.recv()
