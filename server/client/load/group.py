"""The calls that one process holds, in one event loop."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import httpx
from aiortc import RTCIceServer

from server.client.load.call import Call, CallFigures, CallPlan
from server.client.load.sink import read_number
from server.client.peer import Refused, ice_servers
from server.media.send.encoder import Codec

TIMEOUT = 20.0  # seconds of an HTTP request
JOINING = 5.0  # seconds that joins under way are waited for in the end
NO_ANSWER, NO_CONNECTION = "no answer", "no connection"


class Group(Protocol):
    """Calls, wherever they are held."""

    async def add(self, number: int) -> str:
        """One more. Empty where it has come about, else why not: an HTTP status, NO_ANSWER, NO_CONNECTION or an
        error's name."""

    async def begin(self, window: int) -> None:
        """What is sent from here on counts to that window."""

    async def figures(self, window: int) -> list[CallFigures]: ...

    async def cpu_seconds(self) -> float:
        """Processor time that the load itself has taken."""

    async def close(self) -> None:
        """All leave, also those that are just joining."""


class LocalGroup:
    """In this process. To be made in the event loop."""

    def __init__(self, plan: CallPlan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._clock = plan, clock
        # What the system trusts, or SSL_CERT_FILE names, as `hime join`.
        self._http = httpx.AsyncClient(
            base_url=plan.base, timeout=TIMEOUT, trust_env=False, verify=ssl.create_default_context()
        )
        self._loop = asyncio.get_running_loop()
        self._decoding = ThreadPoolExecutor(1, "read-number")
        self._servers: asyncio.Task[tuple[RTCIceServer, ...]] | None = None
        self._calls: dict[int, Call] = {}
        self._joining: set[asyncio.Task[str]] = set()
        self._window = 0

    async def add(self, number: int) -> str:
        task = asyncio.create_task(self._join(number))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)
        return await asyncio.shield(task)

    async def begin(self, window: int) -> None:
        self._window = window
        for call in self._calls.values():
            call.begin(window)

    async def figures(self, window: int) -> list[CallFigures]:
        return [call.figures(window) for call in self._calls.values()]

    async def cpu_seconds(self) -> float:
        return time.process_time()

    async def close(self) -> None:
        if self._joining:  # a session whose answer is under way could not be ended
            await asyncio.wait(self._joining, timeout=JOINING)
        for task in self._joining:
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)  # they leave, too
        await asyncio.gather(*(call.leave() for call in self._calls.values()), return_exceptions=True)
        self._calls.clear()
        if self._servers is not None:
            self._servers.cancel()
        await self._http.aclose()
        self._decoding.shutdown(wait=False, cancel_futures=True)

    async def _join(self, number: int) -> str:
        if self._servers is None:  # the same for all, so that each call costs the relay its offers alone
            self._servers = asyncio.create_task(self._ice_servers(number))
        call = Call(self._plan, number, self._http, self._read, await asyncio.shield(self._servers), self._clock)
        why = ""
        try:
            await call.join()
            call.begin(self._window)
            self._calls[number] = call
        except Refused as error:
            why = NO_ANSWER if error.status is None else str(error.status)
        except TimeoutError:
            why = NO_CONNECTION
        except Exception as error:  # aiortc fails in many ways on an answer that it cannot take
            why = type(error).__name__
        finally:
            if number not in self._calls:
                await call.leave()
        return why

    async def _ice_servers(self, number: int) -> tuple[RTCIceServer, ...]:
        """Those that the relay names; none where it does not say (RFC 9725, section 4.6)."""
        link, key = self._plan.link(number), self._plan.key
        headers = {"Authorization": f"Bearer {key}"} if key else link.headers
        path = self._plan.whip.replace("{room}", link.room).replace("{name}", link.name)
        with suppress(httpx.HTTPError):
            answer = await self._http.options(path, headers=headers)
            return tuple(ice_servers(answer.headers.get_list("link")))
        return ()

    def _read(self, codec: Codec, keyframe: bytes, tell: Callable[[int | None], None]) -> None:
        reading = self._loop.run_in_executor(self._decoding, read_number, codec, keyframe)
        reading.add_done_callback(lambda done: None if done.cancelled() else tell(done.result()))
