"""Calls spread over several processes, where one event loop is busy before the relay is."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

from server.client.load.call import CallFigures, CallPlan
from server.client.load.group import LocalGroup

ENDING = 30.0  # seconds in which a process that was told to end does so


class ProcessGroup:
    """Several processes, each of which holds every so manyth call. To be made in the event loop.

    One that dies fails what it is asked (WorkerDied): its calls are gone.
    """

    def __init__(self, plan: CallPlan, processes: int) -> None:
        self._workers = [_Worker(plan) for _ in range(processes)]

    async def add(self, number: int) -> str:
        return str(await self._workers[number % len(self._workers)].ask("add", number))

    async def begin(self, window: int) -> None:
        await self._all("begin", window)

    async def figures(self, window: int) -> list[CallFigures]:
        found: list[list[CallFigures]] = await self._all("figures", window)
        return [one for several in found for one in several]

    async def cpu_seconds(self) -> float:
        return float(sum(await self._all("cpu_seconds")))

    async def close(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))

    async def _all(self, name: str, *args: Any) -> list[Any]:
        return list(await asyncio.gather(*(worker.ask(name, *args) for worker in self._workers)))


class WorkerDied(RuntimeError):
    """A process of the load has ended by itself, or cannot do what it was asked."""


class _Worker:
    """A process that holds a LocalGroup. Questions are answered in any order."""

    def __init__(self, plan: CallPlan) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, plan), daemon=True)
        self._process.start()
        other.close()
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._dead = False
        threading.Thread(target=self._listen, name="load-worker", daemon=True).start()

    async def ask(self, name: str, *args: Any) -> Any:
        """Raises WorkerDied."""
        if self._dead:
            raise WorkerDied("a process of the load has ended")
        self._number += 1
        future = self._asked[self._number] = self._loop.create_future()
        try:
            self._connection.send((self._number, name, args))
        except OSError:
            self._died()
        return await future

    async def close(self) -> None:
        try:
            async with asyncio.timeout(ENDING):
                await self.ask("close")
        except (WorkerDied, TimeoutError):
            pass
        self._connection.close()
        await asyncio.to_thread(self._process.join, 2)
        self._process.kill()

    def _listen(self) -> None:
        while True:
            try:
                answer = self._connection.recv()
            except (EOFError, OSError):
                break
            self._loop.call_soon_threadsafe(self._answered, *answer)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._died)

    def _answered(self, number: int, result: Any, error: str) -> None:
        future = self._asked.pop(number, None)
        if future is None or future.done():
            return
        if error:
            future.set_exception(WorkerDied(error))
        else:
            future.set_result(result)

    def _died(self) -> None:
        self._dead = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(WorkerDied("a process of the load has ended"))
        self._asked.clear()


def _serve(connection: Connection, plan: CallPlan) -> None:
    """The other end: until it is told to close, or the pipe ends with the process that holds it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first process says what follows
    asyncio.run(_answer(connection, plan))
    os._exit(0)  # past threads that wait for the pipe


async def _answer(connection: Connection, plan: CallPlan) -> None:
    group, running = LocalGroup(plan), set[asyncio.Task[None]]()
    over = False

    async def answer(number: int, name: str, args: tuple[Any, ...]) -> None:
        try:
            connection.send((number, await getattr(group, name)(*args), ""))
        except Exception as error:
            connection.send((number, None, f"{type(error).__name__}: {error}"))

    while not over:
        try:
            number, name, args = await asyncio.to_thread(connection.recv)
        except (EOFError, OSError):
            await group.close()
            return
        over = name == "close"
        task = asyncio.create_task(answer(number, name, args))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running, return_exceptions=True)
