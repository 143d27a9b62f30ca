"""Room tokens: HS256 JWTs in LiveKit's shape.

`{"iss": KEY, "sub": NAME, "exp": …, "video": {"room", "roomJoin", "canPublish", "canSubscribe", "roomAdmin"}}`; a right
that is not there is not given. Two claims are our own: `persons`, names beside `sub` whose registered photos the stream
may use, and `guest`: the name counts in its room alone, so that there are no photos under it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from server.problems import is_name

ALGORITHM = "HS256"
LEEWAY = 10.0  # seconds that clocks may differ by
LONGEST = 4096  # characters
MAX_PERSONS = 64


class InvalidToken(Exception):
    """The token is not one that counts here; the message says why, and nothing of what is in it."""


@dataclass(frozen=True)
class Grant:
    """What may be done in one room."""

    room: str = field(repr=False)
    join: bool = True
    publish: bool = False
    watch: bool = False
    admin: bool = False


@dataclass(frozen=True)
class Token:
    """key: the name of the key that it was signed with; expires: Unix seconds."""

    key: str = field(repr=False)
    subject: str = field(repr=False)
    grant: Grant
    expires: float
    persons: frozenset[str] = field(default=frozenset(), repr=False)
    guest: bool = False


class Tokens:
    """Signs and verifies. secrets: by the name of the key; only those that may mint."""

    def __init__(self, secrets: Mapping[str, bytes], clock: Callable[[], float] = time.time) -> None:
        """clock: Unix seconds, from which on a new token counts; PyJWT verifies by the system's."""
        # HMAC itself fills short keys up with zeros; done here, PyJWT does not warn of each short one at each use.
        self._secrets = {name: secret.ljust(32, b"\0") for name, secret in secrets.items()}
        self._clock = clock

    @property
    def issuers(self) -> tuple[str, ...]:
        """The keys that can sign, in the order in which they were given."""
        return tuple(self._secrets)

    def mint(self, token: Token) -> str:
        """The token as text. Raises KeyError where its key cannot sign."""
        grant = token.grant
        claims: dict[str, Any] = {
            "iss": token.key,
            "sub": token.subject,
            "nbf": int(self._clock()),
            "exp": int(token.expires),
            "video": {
                "room": grant.room,
                "roomJoin": grant.join,
                "canPublish": grant.publish,
                "canSubscribe": grant.watch,
            },
        }
        if grant.admin:
            claims["video"]["roomAdmin"] = True
        if token.persons:
            claims["persons"] = sorted(token.persons)
        if token.guest:
            claims["guest"] = True
        return jwt.encode(claims, self._secrets[token.key], ALGORITHM)

    def verify(self, text: str) -> Token:
        """Raises InvalidToken."""
        if len(text) > LONGEST:
            raise InvalidToken("The token is too long.")
        try:
            key, claims = self._verified(text)
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The token has expired.") from None
        except jwt.ImmatureSignatureError:
            raise InvalidToken("The token is not valid yet.") from None
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(f"The token has no {error.claim}.") from None
        # PyJWT lets the JSON parser's errors through, and those of numbers that are none.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise InvalidToken("The token is not one of this relay's.") from None
        return _token(key, claims)

    def _verified(self, text: str) -> tuple[str, dict[str, Any]]:
        issuer = jwt.decode(text, options={"verify_signature": False}).get("iss")
        tried = self._secrets if issuer is None else {issuer: self._secrets[issuer]} if issuer in self._secrets else {}
        for key, secret in tried.items():
            try:
                options: Any = {"require": ["exp", "sub"]}
                return key, jwt.decode(text, secret, [ALGORITHM], options, leeway=LEEWAY)
            except jwt.InvalidSignatureError:
                continue
        raise jwt.InvalidSignatureError


def _token(key: str, claims: dict[str, Any]) -> Token:
    """Raises InvalidToken where what was signed is not a room token."""
    video, subject, persons = claims.get("video"), claims["sub"], claims.get("persons", [])
    if not is_name(subject):
        raise InvalidToken("The token's sub is not a name.")
    if not isinstance(video, dict) or not is_name(video.get("room")):
        raise InvalidToken("The token's video.room does not name a room.")
    if not isinstance(persons, list) or len(persons) > MAX_PERSONS or not all(map(is_name, persons)):
        raise InvalidToken(f"The token's persons is not a list of {MAX_PERSONS} names at most.")
    rights = (video.get(claim) is True for claim in ("roomJoin", "canPublish", "canSubscribe", "roomAdmin"))
    guest = claims.get("guest", False) is not False
    return Token(key, subject, Grant(video["room"], *rights), float(claims["exp"]), frozenset(persons), guest)
