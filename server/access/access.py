"""Who is let in: the relay's keys and tokens together."""

from __future__ import annotations

import base64
import ipaddress
import logging
from collections.abc import Callable
from pathlib import Path

from hime_core.errors import InputError
from server.access.caller import Caller
from server.access.keyring import Busy, Keyring
from server.access.keys import SHORT, ApiKey, check_unique, parse_keys, parse_lines
from server.access.signing import signing_secrets, warn_if_open
from server.access.tokens import InvalidToken, Tokens
from server.limits.rates import FailedTokens, RateLimit
from server.problem_kinds import Kind
from server.problems import Problem
from server.settings import Settings

log = logging.getLogger(__name__)


class Refused(Problem):
    """A caller is refused. reason: how it is counted."""

    def __init__(
        self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None, *, kind: Kind
    ) -> None:
        super().__init__(status, detail, headers, kind=kind)
        self.reason = reason


class Access:
    """For one event loop's thread. open_to_all: whether whoever reaches the relay from elsewhere needs no token."""

    def __init__(
        self,
        keys: tuple[ApiKey, ...],
        tokens: Tokens,
        open_to_all: bool,
        failed_tokens: FailedTokens | None = None,
    ) -> None:
        """failed_tokens: counts what is shown and wrong, by address; None: a minute's usual number."""
        self._failed_tokens = failed_tokens or FailedTokens(RateLimit(60))
        self.tokens, self.open_to_all = tokens, open_to_all
        self.needed = bool(keys)  # whether a token or a key is
        self._keyring = Keyring(keys)

    async def caller(self, authorization: str | None, address: str) -> Caller:
        """Who makes a request. authorization: its header; address: where it comes from.

        Raises Refused: 401 where nothing or something wrong is shown, 429 where too many wrong secrets are, and 403 for
        who comes from elsewhere, by a proxy, to a relay that is open on its own machine only.
        """
        try:
            return await self._caller(authorization, address)
        except Refused as refused:
            if refused.status_code == 401 and authorization:
                self._not_too_often(self._failed_tokens.failed, address)
            raise

    async def _caller(self, authorization: str | None, address: str) -> Caller:
        if not self.needed:
            if not self.open_to_all and not _is_local(address):
                detail = "This relay has no API keys, and so is open to its own machine only."
                raise Refused(403, "not_local", detail, kind="not-local")
            return Caller(address)
        if not authorization:
            raise _unknown("token-missing", "This needs a token: Authorization: Bearer TOKEN.", "Bearer")
        scheme, _, shown = authorization.partition(" ")
        name, secret = _credentials(scheme.lower(), shown.strip())
        if key := self._keyring.find_plain(name, secret):
            return _as_key(key)
        if name is None and secret.count(".") == 2:
            try:
                token = self.tokens.verify(secret)
            except InvalidToken as error:
                raise _unknown("token-invalid", str(error)) from None
            return Caller(token.subject, token=token)
        self._not_too_often(self._failed_tokens.check, address)  # looking for a hashed key is dear
        try:
            key = await self._keyring.find_hashed(name, secret)
        except Busy:
            detail = "Too many wrong keys were shown; try again shortly."
            raise Refused(429, "key_busy", detail, {"Retry-After": "5"}, kind="too-often") from None
        if key is None:
            raise _unknown("key-invalid", "This is neither a token nor a key of this relay.")
        return _as_key(key)

    @staticmethod
    def _not_too_often(count: Callable[[str], None], address: str) -> None:
        try:
            count(address)
        except Problem as problem:
            headers = dict(problem.headers or {})
            raise Refused(429, "failed_tokens", str(problem.detail), headers, kind="too-often") from None


def load_access(settings: Settings) -> Access:
    """As the settings have it. Raises InputError where they are wrong, and where nobody is kept out of a relay that
    listens for other machines."""
    keys = load_keys(settings)
    if not (keys or settings.open or settings.loopback_only):
        raise InputError(
            f"the relay would be open to everyone who reaches {settings.host}: give HIME_API_KEYS (hime key NAME makes "
            "one), or HIME_OPEN=1 where that is meant"
        )
    failed = FailedTokens(RateLimit(settings.failed_tokens_per_minute))
    return Access(keys, Tokens(signing_secrets(keys, settings)), not keys and settings.open, failed)


def load_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """Of both settings. Raises InputError."""
    keys = parse_keys("HIME_API_KEYS", settings.api_keys.get_secret_value())
    if settings.api_keys_file:
        path = Path(settings.api_keys_file)
        try:
            text = path.read_text("utf-8")
            warn_if_open(path)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise InputError(f"HIME_API_KEYS_FILE: {path} cannot be read: {why}") from None
        keys += parse_lines("HIME_API_KEYS_FILE", text)
    check_unique(keys)
    if short := sum(not key.hashed and len(key.secret) < SHORT for key in keys):
        log.warning("%d API key(s) have a secret of less than %d characters; hime key makes long ones", short, SHORT)
    return keys


def _is_local(address: str) -> bool:
    """Also where there is none, as through a Unix socket. What a proxy names instead of an IP address is elsewhere."""
    try:
        return not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _credentials(scheme: str, shown: str) -> tuple[str | None, str]:
    """A key's name, where one is shown, and its secret or a token."""
    if scheme == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode()
        except ValueError:  # not ASCII, not base64, or not UTF-8
            shown = ""
    elif scheme != "bearer":
        raise _unknown("token-invalid", "Authorization is taken as Bearer, and from API keys as Basic.")
    name, separator, secret = shown.partition(":")
    return (name, secret) if separator else (None, shown)


def _as_key(key: ApiKey) -> Caller:
    return Caller(f"key:{key.name}", key=key)


def _unknown(kind: Kind, detail: str, challenge: str = 'Bearer error="invalid_token"') -> Refused:
    return Refused(401, kind.replace("-", "_"), detail, {"WWW-Authenticate": challenge}, kind=kind)
