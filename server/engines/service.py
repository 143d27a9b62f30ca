"""The engine process's side: one engine, asked by any number of workers."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from hime_core.arrays import U8
from hime_core.engine import Engine, FaceRequest, Late, Overload
from hime_core.exemplars.exemplar import Exemplar
from server.engines import memory, wire
from server.engines.wake import Wake
from server.engines.wire import Answer, Face, Kind, Status

UNTOLD = 4096  # batches, and waits, that are remembered until an answer tells of them

log = logging.getLogger(__name__)
T = TypeVar("T")


class Told:
    """What the engine says of batches and waits, until the next answer takes it along. Safe from any thread."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, float]] = deque(maxlen=UNTOLD)
        self._waits: deque[float] = deque(maxlen=UNTOLD)

    def batch(self, size: int, seconds: float) -> None:
        self._batches.append((size, seconds))

    def wait(self, seconds: float) -> None:
        self._waits.append(seconds)

    def take(self) -> tuple[list[tuple[int, float]], list[float]]:
        return _taken(self._batches, wire.MOST_TOLD), _taken(self._waits, wire.MOST_TOLD)


class Client:
    """One worker's connection. For one thread, but for what the engine's own threads call: they write the answers'
    pictures, and leave it to that thread to say so, many at once."""

    def __init__(self, name: int, link: socket.socket, engine: Engine, told: Told, wake: Wake) -> None:
        """name: which no other connection has; link: is closed with this; wake: is set where there is something to
        say()."""
        self.exemplars: dict[int, Exemplar] = {}
        self._name, self._link, self._engine, self._told = name, link, engine, told
        self._wake, self._unsaid = wake, deque[Answer]()
        self._slots: memory.Slots | None = None
        self._waiting: dict[int, Future[U8]] = {}
        link.setblocking(False)

    def fileno(self) -> int:
        return self._link.fileno()

    def greet(self) -> None:
        """Raises OSError where the worker is gone."""
        self._link.send(wire.hello(self._engine.scale))

    def receive(self) -> bool:
        """Takes one message; False when the worker is gone. Raises ValueError, OSError where it sent nonsense."""
        try:
            message, files, _, _ = socket.recv_fds(self._link, wire.LONGEST, 1)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        try:
            if message:
                self._take(message, files)
            return bool(message)
        finally:
            for file in files:
                os.close(file)

    def say(self) -> None:
        """Answers fit in what a socket holds for all of a worker's slots: one that does not take them reads nothing any
        more, and its connection is ended."""
        while self._unsaid:
            told = wire.Answers(_taken(self._unsaid, wire.MOST), *self._told.take())
            try:
                self._link.send(wire.answers(told))
            except OSError:  # or it is gone: receive() tells
                self._unsaid.clear()
                with suppress(OSError):
                    self._link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lets go of all that was the worker's."""
        for future in list(self._waiting.values()):
            future.cancel()
        self._forget(list(self.exemplars))
        self._link.close()

    def _take(self, message: bytes, files: list[int]) -> None:
        match wire.kind_of(message):
            case Kind.FACES:
                self._ask(list(wire.read_faces(message)))
            case Kind.EXEMPLAR if files:
                number, image = wire.number_of(message), memory.read(files[0], wire.picture_shape(message))
                self.exemplars[number] = wire.read_exemplar(message, image, f"{self._name}.{number}")
            case Kind.DROP:
                self._forget(wire.read_drop(message))
            case Kind.CANCEL:
                if future := self._waiting.get(wire.number_of(message)):
                    future.cancel()
            case Kind.SLOTS if files and self._slots is None:
                self._slots = memory.Slots(files[0], *wire.read_slots(message))
            case kind:
                raise ValueError(f"a worker says {kind.name}, which it may not")

    def _ask(self, faces: list[Face]) -> None:
        asked, requests = [], []
        for face in faces:
            try:
                requests.append(self._request(face))
                asked.append(face)
            except (KeyError, ValueError) as error:
                self._put(_failure(face.number, error))
        for face, future in zip(asked, self._engine.submit(requests) if requests else (), strict=True):
            self._waiting[face.number] = future
            future.add_done_callback(partial(self._answered, face))

    def _request(self, face: Face) -> FaceRequest:
        """Its picture stays where it is: nobody writes there before it is answered."""
        if self._slots is None:
            raise ValueError("there are no slots")
        lr = self._slots.picture(face.slot, face.side)
        exemplars = tuple([self.exemplars[number] for number in face.exemplars])
        return FaceRequest(lr, face.landmarks, exemplars, (self._name, face.stream), face.deadline)

    def _answered(self, face: Face, future: Future[U8]) -> None:
        self._waiting.pop(face.number, None)
        try:
            result = future.result()
            assert self._slots is not None
            self._slots.picture(face.slot, result.shape[0])[...] = result
            answer = Answer(face.number, Status.SHARP, result.shape[0])
        except CancelledError:
            answer = Answer(face.number, Status.CANCELLED)
        except Exception as error:
            answer = _failure(face.number, error)
        self._put(answer)

    def _put(self, answer: Answer) -> None:
        self._unsaid.append(answer)
        self._wake.set()

    def _forget(self, numbers: list[int] | tuple[int, ...]) -> None:
        gone = [self.exemplars.pop(number) for number in numbers if number in self.exemplars]
        self._engine.forget([exemplar.id for exemplar in gone])


class Service:
    """Serves all workers in the thread that runs it."""

    def __init__(self, listener: socket.socket, engine: Engine, told: Told) -> None:
        """told: what the engine's `on_batch` and `on_wait` are."""
        self.clients: list[Client] = []
        self._listener, self._engine, self._told = listener, engine, told
        self._names, self._wake = 0, Wake()
        listener.setblocking(False)

    def run(self, every: float, alive: Callable[[], None], going_on: Callable[[], bool] = lambda: True) -> None:
        """Until `going_on` says False, asked every so many seconds; `alive` is called as often, and at first."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._listener, selectors.EVENT_READ, self._accept)
            ready.register(self._wake, selectors.EVENT_READ, self._say)
            while going_on():
                alive()
                next_time = time.monotonic() + every
                while (left := next_time - time.monotonic()) > 0:
                    for key, _ in ready.select(left):
                        key.data(ready)
        for client in self.clients:
            client.close()

    def _accept(self, ready: selectors.BaseSelector) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError as error:  # it has gone again, or this process may open no more
            log.warning("a worker was not taken: %s", type(error).__name__)
            return
        self._names += 1
        client = Client(self._names, link, self._engine, self._told, self._wake)
        try:
            client.greet()
        except OSError:
            client.close()
            return
        self.clients.append(client)
        ready.register(client, selectors.EVENT_READ, partial(self._serve, client))

    def _say(self, ready: selectors.BaseSelector) -> None:
        self._wake.clear()  # first: what comes from here on wakes anew
        for client in self.clients:
            client.say()

    def _serve(self, client: Client, ready: selectors.BaseSelector) -> None:
        try:
            there = client.receive()
        except Exception as error:  # the other workers are served on
            log.error("a worker's connection is ended: %s", type(error).__name__)
            there = False
        if not there:
            ready.unregister(client)
            self.clients.remove(client)
            client.close()


def _failure(number: int, error: Exception) -> Answer:
    match error:
        case Late():
            return Answer(number, Status.LATE, words=str(error))
        case Overload():
            return Answer(number, Status.OVERLOAD, words=str(error))
    return Answer(number, Status.ERROR, words=f"{type(error).__name__}: {error}")


def _taken(waiting: deque[T], most: int) -> list[T]:
    found: list[T] = []
    with suppress(IndexError):
        while len(found) < most:
            found.append(waiting.popleft())
    return found
