"""HTTP to a worker, over its Unix socket."""

from __future__ import annotations

from pathlib import Path

import httpx

from server.workers.orders import SECRET_HEADER

KEEP = 2.0  # seconds that an unused connection stays open: less than a worker keeps it
SPARE = 16  # unused connections


def connected(socket: Path, timeout: float, secret: str | None = None) -> httpx.AsyncClient:
    """timeout: seconds that an answer may take; secret: shown with each request, none where requests are others'."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=SPARE, keepalive_expiry=KEEP)
    transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=limits)
    headers = {SECRET_HEADER: secret} if secret is not None else {}
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=timeout, headers=headers)
