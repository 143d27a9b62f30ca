"""Bounds the size of request bodies, announced or not, and the time that they take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.limits.rates import Count, uncounted
from server.problems import Problem, problem_response

CLOSE = {"Connection": "close"}  # what is left of the body is not read


class BodyLimit:
    """Answers 413 where a body is larger than `limit(path)` bytes, without reading more than that, and 408 where it
    comes more slowly than `min_rate` bytes a second in the mean, after `patience` seconds.

    before: told the path and the address of each POST before anything of its body is read; may raise Problem.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: Callable[[str], int],
        patience: float = 15.0,
        min_rate: float = 4000.0,
        refused: Count = uncounted,
        before: Callable[[str, str], None] = lambda path, address: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app, self.limit, self._before = app, limit, before
        self._patience, self._min_rate, self._refused, self._clock = patience, min_rate, refused, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "POST":
            try:
                self._before(scope["path"], scope["client"][0] if scope.get("client") else "")
            except Problem as problem:
                headers = {**(problem.headers or {}), "Connection": "close"}
                answer = problem_response(problem.status_code, str(problem.detail), headers, kind=problem.kind)
                await answer(scope, receive, send)
                return
        limit = self.limit(scope["path"])
        too_large = f"The request body is too large: at most {limit} bytes are taken here."
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            self._refused("body_size")
            await problem_response(413, too_large, CLOSE, kind="body-too-large", most=limit)(scope, receive, send)
            return
        taken, began, whole = 0, self._clock(), False

        async def counted() -> Message:
            nonlocal taken, whole
            if whole:  # what comes now only tells that the client has gone
                return await receive()
            left = began + self._patience + taken / self._min_rate - self._clock()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except TimeoutError:
                self._refused("body_time")
                detail = f"The request body comes too slowly: at least {self._min_rate:.0f} bytes a second are needed."
                raise Problem(408, detail, dict(CLOSE), kind="body-too-slow") from None
            taken += len(message.get("body", b""))
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            if taken > limit:
                self._refused("body_size")
                raise Problem(413, too_large, dict(CLOSE), kind="body-too-large", most=limit)
            return message

        await self.app(scope, counted, send)
