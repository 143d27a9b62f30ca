"""Connections of a client to a relay: one that publishes (WHIP, RFC 9725), one that watches (WHEP)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

import httpx
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)

from hime_core.errors import InputError
from server.client.link import Link

CONNECTED_WITHIN = 20.0  # seconds
NO_ANSWER = "the relay does not answer ({}): is its address right?"
ICE_LINK = re.compile(r'<([^>]+)>((?:\s*;\s*[\w-]+=(?:"[^"]*"|[^",;\s]+))*)')
ATTRIBUTE = re.compile(r'([\w-]+)=(?:"([^"]*)"|([^",;\s]+))')


class Refused(InputError):
    """The relay refused; the message is its own. status: HTTP's, None where no answer came, or none of HTTP's."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """One WHIP or WHEP session, at the link's relay."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        link: Link,
        servers: Sequence[RTCIceServer] | None = None,
        relayed: bool = False,
    ) -> None:
        """servers: None for those that the relay names. relayed: whether it may go over a TURN server alone."""
        self._http, self._link = http, link
        self._servers = servers
        self._policy = RTCIceTransportPolicy.RELAY if relayed else RTCIceTransportPolicy.ALL
        self._pc: RTCPeerConnection | None = None
        self._location = ""
        self.ended = asyncio.Event()

    async def publish(self, tracks: Iterable[MediaStreamTrack]) -> None:
        """As open()."""

        def prepare(pc: RTCPeerConnection) -> None:
            for track in tracks:
                pc.addTransceiver(track, "sendonly")

        await self.open(f"/whip/{self._link.room}/{self._link.name}", prepare)

    async def watch(self, name: str, query: str, on_track: Callable[[MediaStreamTrack], None]) -> None:
        """As open(); on_track is called for the picture and for the sound."""

        def prepare(pc: RTCPeerConnection) -> None:
            pc.on("track", on_track)
            for kind in ("video", "audio"):
                pc.addTransceiver(kind, "recvonly")

        await self.open(f"/whep/{self._link.room}/{name}", prepare, query)

    async def check(self) -> None:
        """As open(), without media, and without entering the room."""
        path = f"/api/rooms/{self._link.room}/check"
        await self.open(path, lambda pc: pc.addTransceiver("audio", "recvonly"))

    async def open(self, path: str, prepare: Callable[[RTCPeerConnection], object], query: str = "") -> None:
        """prepare: says what of media is offered. Raises Refused, or TimeoutError where no connection comes about."""
        path = self._link.base + path
        pc = await self._prepared(path)
        prepare(pc)
        await self._negotiate(pc, f"{path}?{query}" if query else path)

    async def close(self) -> None:
        """Ends the session on both sides."""
        if self._location:
            there, base = httpx.URL(self._location), httpx.URL(self._link.base)
            ours = (there.scheme, there.host, there.port) == (base.scheme, base.host, base.port)
            with suppress(httpx.HTTPError):  # the token is for nobody else, as httpx has it for redirects
                await self._http.delete(there, headers=self._link.headers if ours else {})
            self._location = ""
        if self._pc is not None:
            await self._pc.close()
        self.ended.set()

    async def _prepared(self, path: str) -> RTCPeerConnection:
        """With the ICE servers that the relay names before the first connection (RFC 9725, section 4.6)."""
        servers = self._servers
        if servers is None:
            answer = await _asked(self._http.options(path, headers=self._link.headers))
            servers = ice_servers(answer.headers.get_list("link"))
        configuration = RTCConfiguration(iceServers=list(servers), iceTransportPolicy=self._policy)
        pc = self._pc = RTCPeerConnection(configuration)
        pc.on("connectionstatechange", self._changed)
        return pc

    async def _negotiate(self, pc: RTCPeerConnection, path: str) -> None:
        await pc.setLocalDescription(await pc.createOffer())
        headers = {"Content-Type": "application/sdp", **self._link.headers}
        offering = self._http.post(path, content=pc.localDescription.sdp, headers=headers, follow_redirects=True)
        answer = await _asked(offering)
        if answer.status_code != 201:
            raise Refused(_why(answer), answer.status_code)
        # Relative to where the answer came from, which another relay may be (RFC 9725, section 4.5).
        location = answer.headers.get("location", "")
        self._location = str(answer.url.join(location)) if location else ""
        await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        async with asyncio.timeout(CONNECTED_WITHIN):
            while pc.connectionState != "connected":
                await asyncio.sleep(0.02)

    def _changed(self) -> None:
        if self._pc is not None and self._pc.connectionState in ("failed", "closed"):
            self.ended.set()


async def participants(http: httpx.AsyncClient, link: Link, within: float | None = None) -> list[str]:
    """Who is in the room, and sends. within: seconds, where it is not what the client has. Raises Refused."""
    timeout = http.timeout if within is None else httpx.Timeout(within)
    answer = await _asked(http.get(f"{link.base}/api/rooms/{link.room}", headers=link.headers, timeout=timeout))
    if answer.status_code != 200:
        raise Refused(_why(answer), answer.status_code)
    return list(answer.json()["participants"])


def ice_servers(links: Iterable[str]) -> list[RTCIceServer]:
    """The servers that Link headers name with rel="ice-server"."""
    found = []
    for url, rest in (match for link in links for match in ICE_LINK.findall(link)):
        given = {name: quoted or bare for name, quoted, bare in ATTRIBUTE.findall(rest)}
        if given.get("rel") == "ice-server":
            found.append(RTCIceServer(url, given.get("username"), given.get("credential")))
    return found


async def _asked(asking: Awaitable[httpx.Response]) -> httpx.Response:
    """Raises Refused where nobody answers."""
    try:
        return await asking
    except httpx.HTTPError as error:
        raise Refused(NO_ANSWER.format(type(error).__name__)) from None


def _why(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = "this is no HIME Relay, or a proxy stands before it"
    return f"the relay refused ({answer.status_code}): {detail}"
