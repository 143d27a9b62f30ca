"""`hime doctor --url`: a running relay, from the machine that a guest might have."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
from aiortc import MediaStreamTrack, RTCIceServer
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack

from server.checkup.check import Check, Fault, attempted
from server.checkup.servers import ask_stun, ask_turn
from server.client.link import Link, parse_link
from server.client.peer import Connection, Refused, ice_servers, participants
from server.settings.network import is_turn

FRAMES = 10  # that are to come back
COMES_BACK = 15.0  # seconds that they may take
OPEN_PORTS = "open the media ports to the relay (HIME_UDP_PORTS), and set HIME_ANNOUNCED_ADDRESS behind a NAT"


def remote(url: str) -> Iterator[Check]:
    """Takes a minute at most. url: as `hime join` has it; without a room and a name, made-up ones are taken.

    Raises InputError where it is no relay's address.
    """
    link = parse_link(url, otherwise=(f"doctor-{secrets.token_hex(4)}", "doctor"))
    yield from asyncio.run(_remote(link))


async def _remote(link: Link) -> list[Check]:
    # What the system trusts, or SSL_CERT_FILE names.
    trusted = ssl.create_default_context()
    async with httpx.AsyncClient(base_url=link.base, timeout=10, trust_env=False, verify=trusted) as http:
        relay = await attempted("relay", _ready(http))
        checks = [relay, await attempted("https", _https(link), required=False)]
        if not relay.ok:
            return checks
        links: list[RTCIceServer] = []
        checks.append(await attempted("ice servers", _servers(http, link, links), required=False))
        turn = [one for one in links if is_turn(str(one.urls))]
        probes = [attempted("stun", _stun(str(one.urls)), required=False) for one in links if one not in turn]
        probes += [attempted("turn", ask_turn(str(one.urls), one.username, one.credential)) for one in turn]
        checks += await asyncio.gather(*probes)
        checks.append(await attempted("call", _call(http, link), required=not turn))
        for one in turn:
            checks.append(await attempted("turn alone", _relayed(http, link, one)))
        return checks


async def _ready(http: httpx.AsyncClient) -> str:
    """Raises Fault."""
    began = time.monotonic()
    try:
        answer = await http.get("/readyz")
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise Fault(f"{http.base_url} does not answer: {why}", "is its address right, does it run?") from None
    taken = 1000 * (time.monotonic() - began)
    if answer.status_code == 200:
        return f"{http.base_url} is ready, and answers in {taken:.0f} ms"
    if answer.status_code == 503:
        raise Fault(f"{http.base_url} is not ready: {answer.text}", "`hime doctor` on its machine says more")
    raise Fault(
        f"{http.base_url} answers {answer.status_code}: this is no HIME Relay, or a proxy stands before it",
        "HIME_ALLOWED_HOSTS must name the host by which it is reached",
    )


async def _https(link: Link) -> str:
    """Raises Fault."""
    parts = urlsplit(link.base)
    if parts.scheme == "https":
        return "browsers give the camera to this address"
    if parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return "browsers give the camera to this machine's own pages"
    raise Fault("browsers give no camera to plain http", "put a proxy with https before the relay")


async def _servers(http: httpx.AsyncClient, link: Link, found: list[RTCIceServer]) -> str:
    """Puts what OPTIONS names into `found`. Raises Fault."""
    answer = await http.options(f"/whip/{link.room}/{link.name}", headers=link.headers)
    if answer.status_code not in (200, 204):
        raise Fault(f"the relay answers OPTIONS with {answer.status_code}", "is the invitation for this room and name?")
    found += ice_servers(answer.headers.get_list("link"))
    if not found:
        raise Fault(
            "the relay names no STUN or TURN server: guests whose network lets no UDP through are left out",
            "set HIME_ICE_SERVERS and HIME_TURN_SECRET (docs/networks.md)",
        )
    return f"{len(found)} are named before the first connection"


async def _stun(url: str) -> str:
    found = await ask_stun(url)
    return f"{url} answers in {1000 * found.round_trip:.0f} ms, and sees this machine as {found.host}"


async def _call(http: httpx.AsyncClient, link: Link) -> str:
    """Publishes a small picture, and watches it. Raises Fault."""
    try:
        if link.name in await participants(http, link):
            raise Fault(
                "somebody has this name in the room, and is not disturbed", "take an invitation of one's own", False
            )
        async with AsyncExitStack() as stack:
            publisher, watcher = Connection(http, link, servers=[]), Connection(http, link, servers=[])
            stack.push_async_callback(publisher.close)
            await publisher.publish([VideoStreamTrack()])
            frames: asyncio.Queue[object] = asyncio.Queue()
            stack.push_async_callback(watcher.close)
            reading: list[asyncio.Task[None]] = []
            await watcher.watch(
                link.name,
                "view=original&layout=native",
                lambda track: reading.append(asyncio.ensure_future(_read(track, frames))),
            )
            stack.callback(lambda: [task.cancel() for task in reading])
            async with asyncio.timeout(COMES_BACK):
                for _ in range(FRAMES):
                    await frames.get()
    except TimeoutError:
        raise Fault("nothing comes through to the relay and back by UDP", OPEN_PORTS) from None
    except Refused as error:
        raise Fault(str(error), required=True) from None
    return f"{FRAMES} frames went to the relay by UDP, and came back"


async def _read(track: MediaStreamTrack, frames: asyncio.Queue[object]) -> None:
    try:
        while True:
            frame = await track.recv()
            if track.kind == "video":
                frames.put_nowait(frame)
    except MediaStreamError:
        pass


async def _relayed(http: httpx.AsyncClient, link: Link, server: RTCIceServer) -> str:
    """Connects over that TURN server alone. Raises Fault."""
    connection = Connection(http, link, servers=[server], relayed=True)
    began = time.monotonic()
    try:
        await connection.check()
    except TimeoutError:
        raise Fault(
            f"no connection comes about over {server.urls}",
            "does the TURN server reach the relay (coturn: allowed-peer-ip), and the relay's ports it?",
        ) from None
    except Refused as error:
        raise Fault(str(error)) from None
    finally:
        await connection.close()
    return f"a connection came about over {server.urls} in {time.monotonic() - began:.1f} s"
