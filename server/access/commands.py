"""`hime key` and `hime token`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hime_core.errors import InputError
from server.access.access import load_keys
from server.access.invitation import check_base, invitation
from server.access.keys import RIGHTS, hashed, new_secret, parse_rights
from server.access.signing import signing_secrets
from server.access.tokens import Grant, Token, Tokens
from server.problems import NAME_RULE, is_name
from server.settings import load_settings


def make_key(name: str, rights: str) -> None:
    """Prints a new key's line for HIME_API_KEYS_FILE, and its secret, which is kept nowhere. Raises InputError."""
    if not is_name(name):
        raise InputError(f"NAME: a key's name is {NAME_RULE}")
    given = parse_rights("--rights", rights) if rights else RIGHTS
    secret = new_secret()
    tail = "" if given == RIGHTS else f":{','.join(sorted(given))}"
    print("The key's secret, which is shown this once:", file=sys.stderr)
    print(secret, flush=True)
    print("Its line for the file that HIME_API_KEYS_FILE names:", file=sys.stderr, flush=True)
    print(f"{name}:{hashed(secret)}{tail}")


def make_token(
    room: str,
    name: str,
    *,
    publish: bool,
    watch: bool,
    admin: bool,
    minutes: int,
    link: str | None = None,
    key: str | None = None,
    data: Path | None = None,
) -> None:
    """Prints a token, or the invitation to the page at `link`. publish, watch: neither means both. key: who signs, the
    first that may unless given. Raises InputError."""
    for option, given in (("--room", room), ("--as", name)):
        if not is_name(given):
            raise InputError(f"{option}: a name is {NAME_RULE}")
    if link is not None:
        check_base("--link", link)
    settings = load_settings(data=data)
    tokens = Tokens(signing_secrets(load_keys(settings), settings))
    if not tokens.issuers:
        raise InputError(
            "no key may make tokens: give HIME_API_KEYS or HIME_API_KEYS_FILE as the relay has it (hime key NAME makes "
            "a key)"
        )
    if key is not None and key not in tokens.issuers:
        raise InputError("--key: there is no key of that name with the right 'tokens'")
    both = not (publish or watch)
    grant = Grant(room, publish=publish or both, watch=watch or both, admin=admin)
    token = tokens.mint(Token(key or tokens.issuers[0], name, grant, time.time() + 60 * minutes))
    print(token if link is None else invitation(link, room, token))
