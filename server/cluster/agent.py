"""The process between a relay and Ray, `python -m server.cluster.agent FD`.

It is a process of its own because a Ray driver ends when its cluster does; a relay's calls shall not.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from server.cluster.orders import Orders
from server.silence import leave_no_core, log_to_stderr

CLOSING = 3.0  # seconds that leaving the cluster may take

Asked = tuple[int, str, str, tuple[Any, ...], int]  # a number, the actor, its method, arguments, how many returns


def main() -> None:
    """Serves until the relay closes its end, or Ray ends this process."""
    log_to_stderr("warning")
    leave_no_core()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray tells its makers
    connection = Connection(int(sys.argv[1]))
    orders: Orders = connection.recv()
    from server.cluster.actors import Actors

    actors = Actors(orders)
    asyncio.run(_serve(connection, actors))
    watch = threading.Timer(CLOSING, os._exit, (0,))
    watch.daemon = True
    watch.start()
    actors.close()
    os._exit(0)  # past threads that wait for the relay


async def _serve(connection: Connection, actors: Any) -> None:
    loop, over, sending = asyncio.get_running_loop(), asyncio.Event(), threading.Lock()
    running: set[asyncio.Task[None]] = set()
    last: list[tuple[str, str, tuple[Any, ...]]] = []

    async def answer(number: int, actor: str, method: str, args: tuple[Any, ...], returns: int) -> None:
        try:
            result, error = await actors.ask(actor, method, args, returns), ""
        except Exception as failed:
            result, error = None, actors.name_of(failed)
        with sending:
            connection.send((number, result, error))

    def begin(asked: Asked) -> None:
        task = loop.create_task(answer(*asked))
        running.add(task)
        task.add_done_callback(running.discard)

    def read() -> None:
        try:
            while True:
                asked: Asked = connection.recv()
                if asked[0] == 0:  # to be asked when the relay is gone
                    last[:] = [(asked[1], asked[2], asked[3])]
                else:
                    loop.call_soon_threadsafe(begin, asked)
        except (EOFError, OSError):
            loop.call_soon_threadsafe(over.set)

    with sending:
        connection.send((0, None, ""))
    threading.Thread(target=read, name="relay", daemon=True).start()
    await over.wait()
    for actor, method, args in last:
        try:
            await asyncio.wait_for(actors.ask(actor, method, args, 1), 2.0)
        except Exception:  # it is found to be lost a little later then
            continue


if __name__ == "__main__":
    main()
