"""By which names the relay is reached, and which pages may change something in it: against DNS rebinding and against
requests that another site's page makes in a visitor's browser.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from server.problems import problem_response

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # these change nothing (RFC 9110, section 9.2.1)
LOOPBACK_NAME = "localhost"  # and all below it, which resolve to loopback (RFC 6761, section 6.3)


def known_hosts(listening: str, allowed: Iterable[str], own_name: str | None = None) -> frozenset[str]:
    """The names, besides IP addresses and localhost's, that requests may be for.

    listening: what the relay listens on, a name or an address; where that is more than loopback, this machine's name
    counts, too, alone and with `.local` behind it, as the local network knows it. allowed: `HIME_ALLOWED_HOSTS`.
    """
    names = {*allowed, listening.lower()}
    if not is_local(listening):
        own = (own_name or socket.gethostname()).lower()
        names |= {own, own.partition(".")[0] + ".local"}
    return frozenset(names)


def is_local(host: str) -> bool:
    """Whether a name or an address means this machine alone."""
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == LOOPBACK_NAME or host.endswith("." + LOOPBACK_NAME)


class HostCheck:
    """Answers 421 where the Host header's name is none of the relay's.

    A site can make its own name resolve to the relay's address after its page was loaded (DNS rebinding): the browser
    then takes page and relay for one origin. Its requests still carry the site's name. An address in place of a name
    was looked up nowhere, so every address passes, and a local network needs no setting.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], refused: Callable[[str], None]) -> None:
        """names: as `known_hosts` gives them; `*.example.org` stands for every name below example.org."""
        self._app, self._refused = app, refused
        self._names = {name for name in names if not name.startswith("*.")}
        self._below = tuple(name[1:] for name in names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._knows(_header(scope, b"host")):
            await self._app(scope, receive, send)
            return
        self._refused("host")
        detail = "The relay is not known by this host name. Its operator can add the name to HIME_ALLOWED_HOSTS."
        await problem_response(421, detail, kind="wrong-host")(scope, receive, send)

    def _knows(self, host: str | None) -> bool:
        if host is None:  # HTTP/1.0, which no browser speaks
            return True
        name = _without_port(host.lower())
        if _address(name) is not None:
            return True
        name = name.removesuffix(".")
        return is_local(name) or name in self._names or name.endswith(self._below)


class OriginCheck:
    """Answers 403 where another site's page asks for a change.

    Browsers name the page's origin with every such request; what names none is no browser, and passes. A page's own
    origin is the host that the request is for, with its port. The scheme is not compared: behind a proxy that ends TLS
    the relay does not know it.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], refused: Callable[[str], None]) -> None:
        """allowed: origins of other sites, such as https://example.org: `HIME_CORS_ORIGINS`, and other nodes."""
        self._app, self._allowed, self._refused = app, allowed, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE or self._may(scope):
            await self._app(scope, receive, send)
            return
        self._refused("origin")
        detail = (
            "A page of another site may change nothing here. Its origin can be allowed in HIME_CORS_ORIGINS; a proxy "
            "must pass the Host header on as it came."
        )
        await problem_response(403, detail, kind="wrong-origin")(scope, receive, send)

    def _may(self, scope: Scope) -> bool:
        origin = _header(scope, b"origin")
        if origin in self._allowed or "*" in self._allowed:
            return True
        if _header(scope, b"sec-fetch-site") in ("cross-site", "same-site"):  # the latter: another port or subdomain
            return False
        if origin is None:
            return True
        scheme, separator, host = origin.lower().partition("://")
        return bool(separator) and scheme in ("http", "https") and host == (_header(scope, b"host") or "").lower()


def _header(scope: Scope, name: bytes) -> str | None:
    """The header's value; where it was sent more than once, all of them with commas between, which match nothing."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None


def _without_port(host: str) -> str:
    """`[::1]:80` → `::1`, `example.org:80` → `example.org`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
