"""The link that lets somebody in."""

from __future__ import annotations

from urllib.parse import urlsplit

from hime_core.errors import InputError

MAX_MINUTES = 60 * 24 * 366  # of a token's life


def invitation(base: str, room: str, token: str) -> str:
    """base: the page's URL. The token is in the fragment, which browsers do not send: it is in no server's log."""
    return f"{base.rstrip('/')}/?room={room}#token={token}"


def check_base(option: str, base: str) -> str:
    """The URL as it is. Raises InputError where it is not one of a page."""
    try:
        parts = urlsplit(base)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise InputError(f"{option}: not the relay's address, such as https://relay.example.org")
    return base
