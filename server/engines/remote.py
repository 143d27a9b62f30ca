"""The worker's side: an Engine whose network runs in an engine process."""

from __future__ import annotations

import itertools
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hime_core.arrays import U8
from hime_core.engine import FaceRequest, Gone, Late, Overload
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import LR_SIDES
from server.engines import memory, wire
from server.engines.known import Known
from server.engines.wake import Wake
from server.engines.wire import Answer, Answers, Face, Status

SLOTS = 64  # faces that a worker may have at the engine
LARGEST = LR_SIDES[-1]
AGAIN = 0.2  # seconds until a process that is just starting is tried again, or one that reads too slowly
DROPPED = 1000  # exemplars that one message says are gone
NUMBERS = 1 << 32

log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    """used: bytes of the slot."""

    future: Future[U8]
    slot: int
    used: int


def connected(
    path: Path,
    within: float,
    on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    on_wait: Callable[[float], None] = lambda seconds: None,
) -> RemoteEngine:
    """The engine of the process that listens at a socket, as soon as its networks are loaded.

    within: seconds that it may take, through deaths and new starts. on_batch, on_wait: as BatchingEngine has them; they
    are told of each batch once, whichever worker's faces were in it. Raises RuntimeError with the process's own reason
    where it cannot load them, TimeoutError, OSError.
    """
    end = time.monotonic() + within
    while (left := end - time.monotonic()) > 0:
        link = wire.connection()
        try:
            link.settimeout(left)
            link.connect(str(path))
            message = link.recv(wire.LONGEST)
            if message:
                return RemoteEngine(link, wire.read_hello(message), on_batch, on_wait)
        except (BlockingIOError, ConnectionError, FileNotFoundError, TimeoutError):
            pass  # it is only starting, or has died while it did
        except BaseException:
            link.close()
            raise
        link.close()
        time.sleep(AGAIN)
    raise TimeoutError(f"the engine process did not answer within {within:g} s")


class RemoteEngine:
    """An Engine over one connection. When that ends, so does this: all that waits and all that comes fails with Gone.

    Nothing waits here: a face for which there is no slot, or whose message the process does not take at once, is
    refused with Overload. Exemplars go to the process when a face first names them, and are dropped there when they are
    forgotten here, or nobody has them any longer.
    """

    def __init__(
        self,
        link: socket.socket,
        scale: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        on_wait: Callable[[float], None] = lambda seconds: None,
        slots: int = SLOTS,
    ) -> None:
        """link: a connection of which the hello was read; it is closed with this. Raises OSError."""
        self.scale = scale
        self._link, self._on_batch, self._on_wait = link, on_batch, on_wait
        size = 3 * (scale * LARGEST) ** 2
        file = memory.new_file(slots * size)
        try:
            self._slots = memory.Slots(file, slots, size)
            link.setblocking(False)
            socket.send_fds(link, [wire.slots(slots, size)], [file])
        finally:
            os.close(file)
        self._lock = threading.Lock()  # of what is sent, and of what is known
        self._wake = Wake()
        self._known = Known(self._wake)
        self._next = itertools.count()
        self._asked: dict[int, _Asked] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hime-engine-answers", daemon=True)
        self._thread.start()

    @property
    def known(self) -> int:
        """Exemplars that the process holds for this worker."""
        return len(self._known)

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        futures: list[Future[U8]] = [Future() for _ in requests]
        refused: list[tuple[Future[U8], Exception]] = []
        with self._lock:
            faces = []
            for request, future in zip(requests, futures, strict=True):
                try:
                    faces.append(self._face(request, future))
                except Exception as error:
                    refused.append((future, error))
            refused += self._ask(faces)
        for future, why in refused:
            future.set_exception(why)
        return futures

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        """The process is told at once, though this does not wait until it has heard."""
        with self._lock:
            self._known.forget(exemplar_ids)
            self._tell_gone()

    def close(self) -> None:
        """Faces that still wait are cancelled."""
        self._end(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _face(self, request: FaceRequest, future: Future[U8]) -> Face:
        """Takes a slot, and has the process know the exemplars. Raises Gone, Overload, ValueError, OSError."""
        if self._closed:
            raise Gone("the engine process is gone")
        side = request.lr.shape[0]
        if request.lr.shape != (side, side, 3) or side > LARGEST:
            raise ValueError(f"an engine process takes faces of {LARGEST} pixels at most, not of {request.lr.shape}")
        if len(request.exemplars) > wire.MOST_EXEMPLARS:
            raise ValueError(f"an engine process takes {wire.MOST_EXEMPLARS} exemplars a face at most")
        exemplars = tuple([self._number(exemplar) for exemplar in request.exemplars])
        slot = self._slots.take()
        if slot is None:
            raise Overload("as many faces of this worker are at the engine as may be")
        self._slots.picture(slot, side)[...] = request.lr
        number = next(self._next) % NUMBERS
        self._asked[number] = _Asked(future, slot, request.lr.nbytes * self.scale**2)
        future.add_done_callback(partial(self._cancelled, number))
        stream = hash(request.stream)
        return Face(number, slot, side, stream, request.deadline, request.landmarks, exemplars)

    def _number(self, exemplar: Exemplar) -> int:
        """Of an exemplar, which the process has from here on. Raises Overload, OSError."""
        number = self._known.number(exemplar)
        if number is None:
            number = self._known.add(exemplar)
            try:
                file = memory.written(exemplar.image)
                try:
                    socket.send_fds(self._link, [wire.exemplar(number, exemplar)], [file])
                finally:
                    os.close(file)
            except BlockingIOError:
                self._known.drop(number)
                raise Overload("the engine process does not take exemplars at once") from None
            except BaseException:
                self._known.drop(number)
                raise
        return number

    def _ask(self, faces: list[Face]) -> list[tuple[Future[U8], Exception]]:
        """Those that could not be sent, and why."""
        if not faces:
            return []
        try:
            self._link.send(wire.faces(faces))
            return []
        except BlockingIOError:
            error: Exception = Overload("the engine process does not take faces at once")
        except OSError:
            error = Gone("the engine process is gone")
        asked = [one for face in faces if (one := self._asked.pop(face.number, None))]
        for one in asked:
            self._slots.free(one.slot, one.used)
        return [(one.future, error) for one in asked]

    def _cancelled(self, number: int, future: Future[U8]) -> None:
        """Nobody wants that face any longer; its slot is free when the process has said so."""
        if future.cancelled() and number in self._asked:
            with self._lock, suppress(OSError):  # it is computed in vain, or the process is gone
                if not self._closed:
                    self._link.send(wire.cancel(number))

    # -- the thread that reads answers

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        error: Exception | None = None
        try:
            while not self._closed:
                ready = {file for file, _ in poll.poll(AGAIN * 1000 if self._known.gone else None)}
                if self._wake.fileno() in ready:
                    self._wake.clear()
                if self._known.gone:
                    with self._lock:
                        self._tell_gone()
                if self._link.fileno() in ready:
                    message = self._link.recv(wire.LONGEST)
                    if not message:
                        break
                    self._take(wire.read_answers(message))
        except Exception as caught:
            error = caught
        if not self._closed:
            log.warning("the engine process is gone: %s", type(error).__name__ if error else "it has ended")
        self._end(Gone("the engine process is gone"))
        self._link.close()

    def _take(self, told: Answers) -> None:
        for size, seconds in told.batches:
            self._on_batch(size, seconds)
        for seconds in told.waits:
            self._on_wait(seconds)
        for answer in told.answers:
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        asked = self._asked.pop(answer.number)
        try:
            result = self._slots.picture(asked.slot, answer.side).copy() if answer.status is Status.SHARP else None
        finally:
            self._slots.free(asked.slot, asked.used)
        if not asked.future.set_running_or_notify_cancel():
            return
        if result is not None:
            asked.future.set_result(result)
        elif answer.status is Status.LATE:
            asked.future.set_exception(Late(answer.words))
        elif answer.status is Status.OVERLOAD:
            asked.future.set_exception(Overload(answer.words))
        elif answer.status is Status.CANCELLED:
            asked.future.set_exception(Gone("the engine process ends"))
        else:
            asked.future.set_exception(RuntimeError(answer.words))

    def _tell_gone(self) -> None:
        """What the process does not take now, it is told later."""
        while not self._closed and (numbers := self._known.take_gone(DROPPED)):
            try:
                self._link.send(wire.drop(numbers))
            except BlockingIOError:
                self._known.gone.extendleft(reversed(numbers))
                return
            except OSError:
                return  # the process is gone, and has nothing any longer

    def _end(self, error: Exception | None) -> None:
        """error: what faces that wait fail with; None: they are cancelled."""
        with self._lock:
            self._closed = True
            left, self._asked = list(self._asked.values()), {}
            self._known.clear()
            with suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
        self._wake.set()
        for one in left:
            if error is None:
                one.future.cancel()
            elif one.future.set_running_or_notify_cancel():
                one.future.set_exception(error)
