"""The STUN and TURN servers that a joiner is told of, with credentials that end by themselves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence

from server.settings import IceServer


class IceServers:
    """Makes TURN credentials for each join as draft-uberti-behave-turn-rest-00 has it, which coturn takes with
    `use-auth-secret`."""

    def __init__(
        self,
        servers: Sequence[IceServer],
        secret: str = "",
        lifetime: int = 28_800,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """secret: shared with the TURN server; empty: nothing is made. lifetime: of credentials, seconds. wall: Unix
        seconds."""
        self._servers, self._secret, self._lifetime, self._wall = tuple(servers), secret.encode(), lifetime, wall

    def issue(self) -> tuple[IceServer, ...]:
        """The servers; those with a TURN URL and without credentials of their own get fresh ones."""
        return tuple(self._with_credentials(server) for server in self._servers)

    def _with_credentials(self, server: IceServer) -> IceServer:
        if not self._secret or server.username is not None or not server.has_turn:
            return server
        # The second half tells one join from another in TURN's logs, and nothing of who it is.
        username = f"{int(self._wall()) + self._lifetime}:{secrets.token_hex(8)}"
        digest = hmac.new(self._secret, username.encode(), hashlib.sha1).digest()
        credential = base64.b64encode(digest).decode()
        return server.model_copy(update={"username": username, "credential": credential})
