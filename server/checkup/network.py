"""The network's part of `hime doctor` on the relay's own machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from server.checkup.check import Check, Fault, attempt, attempted
from server.checkup.ports import own_addresses, ports, reachable_words
from server.checkup.servers import Mapped, ask_stun, ask_turn
from server.media.ice_servers import IceServers
from server.settings import Settings
from server.settings.network import is_turn


def network(settings: Settings, addresses: Sequence[str] | None = None) -> Iterator[Check]:
    """Takes some ten seconds at most. addresses: of this machine, without loopback; None: those that it has."""
    own = own_addresses() if addresses is None else list(addresses)
    yield from asyncio.run(_network(settings, own))
    yield attempt("turn secret", lambda: _turn_secret(settings), required=False)
    yield attempt("hidden", lambda: _hidden(settings, own), required=False)
    yield attempt("https", lambda: _https(settings), required=False)


async def _network(settings: Settings, own: list[str]) -> list[Check]:
    checks = [await attempted("udp ports", ports(*settings.ports, own))]  # by itself: the others take ports, too
    lifetime = 60 * settings.turn_minutes
    servers = IceServers(settings.ice_servers, settings.turn_secret.get_secret_value(), lifetime).issue()
    urls = [(url, server) for server in servers for url in server.urls]
    stun = [url for url, _ in urls if not is_turn(url)]
    peers = [address for address in own if ip_address(address).version == 4]
    turn = [ask_turn(url, one.username, one.credential, peers) for url, one in urls if is_turn(url)]
    mapped, relaying = await asyncio.gather(
        asyncio.gather(*map(ask_stun, stun), return_exceptions=True),
        asyncio.gather(*(attempted("turn", probe) for probe in turn)),
    )
    for url, found in zip(stun, mapped, strict=True):
        checks.append(await attempted("stun", _told(url, found), required=False))
    seen = next((one for one in mapped if isinstance(one, Mapped)), None)
    if settings.announced_address or seen is not None:
        checks.append(await attempted("address", _address(settings, own, seen), required=False))
    return [*checks, *relaying]


async def _told(url: str, found: Mapped | BaseException) -> str:
    if isinstance(found, BaseException):
        raise found
    return f"{url} answers in {1000 * found.round_trip:.0f} ms, and sees this machine as {found.host}"


async def _address(settings: Settings, own: Sequence[str], seen: Mapped | None) -> str:
    """Whether the announced addresses are this machine's or its NAT's. Raises Fault."""
    announced = settings.announced_address
    if not announced and seen is not None:
        if seen.host in own or ip_address(seen.host).is_loopback:
            return f"{seen.host} is this machine's own: nothing stands between"
        if any(server.has_turn for server in settings.ice_servers):
            return f"behind a NAT, as {seen.host}: guests from outside come over TURN"
        raise Fault(
            f"this machine is behind a NAT, as {seen.host}, and announces nothing",
            f"set HIME_ANNOUNCED_ADDRESS={seen.host} if the NAT passes the media ports on, or set up a TURN server",
        )
    foreign = [one for one in announced if one not in own]
    if not foreign:
        return f"{', '.join(announced)}: this machine's own"
    if seen is None:
        raise Fault(
            f"{', '.join(foreign)} is not this machine's, and nobody tells whether it is its NAT's",
            "name a STUN server in HIME_ICE_SERVERS to have that asked",
        )
    same_kind = [one for one in foreign if ip_address(one).version == ip_address(seen.host).version]
    if same_kind and seen.host not in same_kind:
        raise Fault(
            f"{', '.join(same_kind)} is announced, but the world sees this machine as {seen.host}",
            f"set HIME_ANNOUNCED_ADDRESS={seen.host}, unless guests come in by another way",
        )
    return f"{', '.join(foreign)}: the NAT's, as STUN says; it must pass the media ports on unchanged"


def _turn_secret(settings: Settings) -> str:
    """Raises Fault."""
    given = bool(settings.turn_secret.get_secret_value())
    turn = [server for server in settings.ice_servers if server.has_turn]
    if given and not any(server.username is None for server in turn):
        raise Fault(
            "HIME_TURN_SECRET is for no server", "name the TURN server in HIME_ICE_SERVERS, without credentials"
        )
    if not turn:
        raise Fault(
            "no TURN server: guests whose network lets no UDP through are left out",
            "docs/networks.md tells how to set one up",
        )
    return f"each join gets credentials for {settings.turn_minutes} min" if given else "not needed: credentials are set"


def _hidden(settings: Settings, own: Sequence[str]) -> str:
    """Browsers without a camera's permission put mDNS names in place of their addresses. Raises Fault."""
    offered = [*settings.announced_address, *own]
    if not offered:
        raise Fault("browsers that hide their addresses (mDNS) find no address of the relay's", "set up the network")
    return f"browsers that hide their addresses (mDNS) come to the relay's: {reachable_words(offered)}"


def _https(settings: Settings) -> str:
    """Raises Fault."""
    if settings.allowed_hosts:
        return f"browsers give the camera to https alone: a proxy must hold it for {', '.join(settings.allowed_hosts)}"
    if settings.loopback_only:
        return "http://localhost has the camera; for guests elsewhere, a proxy with https must stand before the relay"
    raise Fault(
        f"the relay speaks plain http at {settings.host}, to which browsers elsewhere give no camera",
        "put a proxy with https before it (docs/self-hosting.md)",
    )
