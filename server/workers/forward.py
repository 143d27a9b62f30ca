"""Requests that go on to a worker, and its answers as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from fastapi import Request, Response

from server.problems import Problem
from server.workers.process import Worker

# RFC 9110, section 7.6.1, what the front says of its client by itself, and what it has checked: workers know no nodes,
# from whose pages requests may come.
NOT_FORWARDED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"forwarded",
        b"origin",
        b"sec-fetch-site",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    }
)


async def forwarded(request: Request, worker: Worker, body: bytes | None = None) -> Response:
    """The worker's answer. body: the request's, where it was read before; else it is passed on as it comes.

    The worker knows the client's address as it would behind a proxy. Raises Problem 503 where it does not answer.
    """
    headers = [(key, value) for key, value in request.headers.raw if key not in NOT_FORWARDED]
    headers.append((b"x-forwarded-for", (request.client.host if request.client else "").encode()))
    headers.append((b"x-forwarded-proto", request.url.scheme.encode()))
    content: AsyncIterator[bytes] | bytes | None = body
    if body is None and ("content-length" in request.headers or "transfer-encoding" in request.headers):
        content = request.stream()
    target = request.scope["raw_path"] + (b"?" + query if (query := request.scope["query_string"]) else b"")
    # The target as it came: made of a path anew, it might name another resource.
    outgoing = worker.http.build_request(
        request.method, "/", headers=headers, content=content, extensions={"target": target}
    )
    try:
        answer = await worker.http.send(outgoing)
    except httpx.TimeoutException:
        raise _unanswered("does not answer in time", 5) from None
    except httpx.TransportError:
        raise _unanswered("has just ended", 1) from None
    response = Response(answer.content, answer.status_code)
    raw = [(key.lower(), value) for key, value in answer.headers.raw]
    response.raw_headers = [(key, value) for key, value in raw if key not in NOT_FORWARDED]
    return response


def _unanswered(what: str, seconds: int) -> Problem:
    detail = f"The part of the relay that this is for {what}. Try again shortly."
    return Problem(503, detail, {"Retry-After": str(seconds)}, kind="no-worker")
