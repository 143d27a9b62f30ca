"""The ICE servers as Link headers (RFC 9725, section 4.6)."""

from __future__ import annotations

from server.media.ice_servers import IceServers
from server.settings import IceServer
from server.settings.network import is_turn


def ice_links(servers: IceServers) -> dict[str, str]:
    """The header, with fresh credentials; none where there are no servers."""
    links = [_link(server, url) for server in servers.issue() for url in server.urls]
    return {"Link": ", ".join(links)} if links else {}


def _link(server: IceServer, url: str) -> str:
    """Credentials are TURN's alone."""
    link = f'<{url}>; rel="ice-server"'
    if server.username is not None and is_turn(url):
        username, credential = (_quoted(value or "") for value in (server.username, server.credential))
        link += f'; username={username}; credential={credential}; credential-type="password"'
    return link


def _quoted(text: str) -> str:
    """A quoted-string (RFC 9110, section 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
