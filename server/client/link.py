"""Where to join: a link as the page has it, `https://host/?room=R&name=N#token=T`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit, urlunsplit

import jwt

from hime_core.errors import InputError
from server.problems import NAME_PATTERN, NAME_RULE


@dataclass(frozen=True)
class Link:
    """base: the relay's address, without a path; token: empty where none is needed. Not to be printed whole."""

    base: str
    room: str
    name: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def parse_link(
    url: str,
    room: str | None = None,
    name: str | None = None,
    token: str | None = None,
    otherwise: tuple[str, str] = ("", ""),
) -> Link:
    """What is given beside the link counts before what it holds; the name is the token's subject where there is none.
    otherwise: room and name where nothing says them.

    Raises InputError.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"{url.partition('#')[0]} is not a relay's address such as https://relay.example.org/?room=R")
    query, fragment = parse_qs(parts.query), parse_qs(parts.fragment)
    token = token or fragment.get("token", [""])[0]
    subject, granted = _told_by(token)
    room = room or query.get("room", [granted])[0] or otherwise[0]
    name = name or query.get("name", [subject])[0] or otherwise[1]
    for what, value in (("room", room), ("name", name)):
        if not re.fullmatch(NAME_PATTERN, value):
            raise InputError(f"which {what} to join is not said: give --{what}, {NAME_RULE}")
    return Link(urlunsplit((parts.scheme, parts.netloc, "", "", "")), room, name, token)


def _told_by(token: str) -> tuple[str, str]:
    """Whom and which room a token is for; the relay is who checks it. Raises InputError."""
    if not token:
        return "", ""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return str(claims.get("sub", "")), str(claims.get("video", {}).get("room", ""))
    except (jwt.InvalidTokenError, AttributeError):
        raise InputError("the token is not one: it must be a JWT, as `hime token` prints it") from None
