"""HTTP to a worker, over its Unix socket."""

from __future__ import annotations

from pathlib import Path

import httpx

from server.workers.orders import SECRET_HEADER

KEEP = 2.0  # seconds that an unused connection stays open: less than a worker keeps it
SPARE = 16  # unused connections


def connected(socket: Path, secret: str, timeout: float) -> httpx.AsyncClient:
    """A client that shows the secret with each request; timeout: seconds that an answer may take."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=SPARE, keepalive_expiry=KEEP)
    transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=limits)
    headers = {SECRET_HEADER: secret}
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=timeout, headers=headers)
