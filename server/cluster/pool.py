"""The cluster's engines as one Engine."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hime_core.arrays import U8
from hime_core.engine.protocol import Engine, FaceRequest, Late, Overload
from server.cluster.link import Link
from server.cluster.orders import Orders
from server.cluster.parcels import count, joined, pack
from server.settings import Settings

FIRST_GUESS = 0.05  # seconds that an engine is taken to need before it was measured
SMOOTHING = 0.2
REST = 2.0  # seconds that an engine which failed is not asked
LOCAL_REST = 10.0  # seconds until the own engine is made again that could not be made
LONGEST = 10.0  # seconds that a face without a deadline may take
MOST = 32  # faces that one engine is asked for at once


class Asks(Protocol):
    """A Link, as far as it matters here."""

    incarnation: int

    def ask(self, actor: str, method: str, *args: Any, returns: int = 1) -> Future[Any]: ...


@dataclass
class _Member:
    """One engine. turnaround: seconds from asking to the answer, of late, for each face that it is asked for; known:
    exemplars that it was given; heard: clock seconds of its last answer, or from when on it was waited for."""

    name: str
    turnaround: float = FIRST_GUESS
    asked: int = 0
    heard: float = -math.inf
    rests_until: float = -math.inf
    incarnation: int = 0
    known: set[str] = field(default_factory=set)

    @property
    def expected(self) -> float:
        return self.turnaround * (self.asked + 1)


class PooledEngine:
    """Asks the engine that is expected to answer first. One that fails rests for a while; its faces fail at once, and
    frames go on with what they have. One that is silent, as Ray has no place for it, rests, too. Where none can be
    asked, an engine of this process is. Thread-safe.

    Deadlines travel as seconds that are left, as machines' clocks differ. forget() is told to every engine, also to
    those that rest; one that never hears of it drops what it has not used for two minutes.
    """

    def __init__(
        self,
        link: Asks,
        names: Sequence[str],
        scale: int,
        make_local: Callable[[], Engine],
        prefix: str,
        on_turnaround: Callable[[float], None] = lambda seconds: None,
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """names: of the engines' actors; make_local: makes the engine of this process, in a thread, when it is first
        needed; prefix: of the streams' names, which no other relay has; close: called by close()."""
        self.scale = scale
        self._link, self._make_local, self._prefix = link, make_local, prefix
        self._on_turnaround, self._on_failure, self._clock = on_turnaround, on_failure, clock
        self._close_link = close
        self._lock = threading.Lock()
        self._members = [_Member(name) for name in names]
        self._local: Engine | None = None
        self._making = self._closed = False
        self._made_after = -math.inf  # clock seconds

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[U8]]:
        return [self._one(request) for request in requests]

    def forget(self, exemplar_ids: Iterable[str]) -> None:
        ids = tuple(exemplar_ids)
        if not ids:
            return
        for member in self._members:
            with self._lock:
                member.known.difference_update(ids)
            self._link.ask(member.name, "forget", ids)
        if self._local is not None:
            self._local.forget(ids)

    def close(self) -> None:
        """The engines of the cluster go on."""
        with self._lock:
            self._closed, local, self._local = True, self._local, None
        if local is not None:
            local.close()
        self._close_link()

    def _one(self, request: FaceRequest) -> Future[U8]:
        now = self._clock()
        for one in self._members:
            if one.asked and one.rests_until <= now and now - one.heard > LONGEST:
                self._rest(one)
        with self._lock:
            able = [one for one in self._members if one.rests_until <= now]
            free = [one for one in able if one.asked < MOST]
            member = min(free, key=lambda one: one.expected) if free else None
            if member is not None:
                member.heard = member.heard if member.asked else now
                member.asked += 1
        if member is not None:
            answer: Future[U8] = Future()
            self._send(member, request, answer, now, again=True)
            return answer
        if able:
            return _failed(Overload("the engines' queues are full"))
        return self._locally(request)

    def _send(self, member: _Member, request: FaceRequest, answer: Future[U8], began: float, again: bool) -> None:
        """again: whether exemplars that it turns out to lack are sent after."""
        seconds = min(request.deadline - self._clock(), LONGEST)
        if seconds <= 0:
            self._over(member)
            answer.set_exception(Late("its time was over before it was sent"))
            return
        with self._lock:
            if member.incarnation != self._link.incarnation:
                member.incarnation = self._link.incarnation
                member.known.clear()
            new = [one for one in request.exemplars if one.id not in member.known]
            member.known.update(one.id for one in new)
        ids, stream = tuple(one.id for one in request.exemplars), f"{self._prefix}-{hash(request.stream)}"
        side = request.lr.shape[0] * self.scale
        args = (stream, request.lr, request.landmarks, ids, seconds, *pack(new))
        asked = self._link.ask(member.name, "enhance", *args, returns=count(side))

        def answered(asked: Future[Any]) -> None:
            member.heard, error = self._clock(), _told(asked.exception())
            if error is None:
                pieces = asked.result() if isinstance(asked.result(), list) else [asked.result()]
                if not pieces[0]:
                    with self._lock:
                        member.known.difference_update(ids)
                    if again:
                        self._send(member, request, answer, began, again=False)
                        return
                    error = Overload("the engine could not keep the exemplars")
            self._over(member, self._clock() - began if error is None else None)
            if error is not None and not isinstance(error, Late | Overload):
                self._rest(member)
            with suppress(InvalidStateError):  # nobody waits for it any longer
                if error is not None:
                    answer.set_exception(error)
                else:
                    answer.set_result(joined(pieces, side))

        asked.add_done_callback(answered)

    def _over(self, member: _Member, seconds: float | None = None) -> None:
        with self._lock:
            member.asked -= 1
            if seconds is not None:
                per_face = seconds / (member.asked + 1)
                member.turnaround += SMOOTHING * (per_face - member.turnaround)
        if seconds is not None:
            self._on_turnaround(seconds)

    def _rest(self, member: _Member) -> None:
        now = self._clock()
        with self._lock:
            fresh = member.rests_until <= now
            member.rests_until = now + REST
            member.known.clear()
        if fresh:
            self._on_failure()

    def _locally(self, request: FaceRequest) -> Future[U8]:
        with self._lock:
            local = self._local
            may = not self._making and not self._closed and self._clock() >= self._made_after
            make = local is None and may
            self._making = self._making or make
        if local is not None:
            return local.submit([request])[0]
        if make:
            threading.Thread(target=self._make, name="hime-engine-local", daemon=True).start()
        return _failed(Overload("no engine answers, and the own one is not loaded yet"))

    def _make(self) -> None:
        try:
            local = self._make_local()
        except Exception:
            self._on_failure()
            with self._lock:
                self._making, self._made_after = False, self._clock() + LOCAL_REST
            return
        with self._lock:
            self._making = False
            if not self._closed:
                self._local = local
                return
        local.close()


def pooled(
    settings: Settings,
    scale: int,
    make_local: Callable[[], Engine],
    on_turnaround: Callable[[float], None],
    on_failure: Callable[[], None],
) -> PooledEngine:
    """Over a link of its own."""
    orders = Orders.of(settings)
    if orders.address == "local":  # the node has started Ray here; a second one would be nobody else's
        orders = replace(orders, address="auto")
    link = Link(orders)
    return PooledEngine(
        link, orders.engine_names, scale, make_local, secrets.token_hex(4), on_turnaround, on_failure, close=link.close
    )


def _told(error: BaseException | None) -> BaseException | None:
    """As engines have it."""
    kind = {"Late": Late, "Overload": Overload}.get(str(error))
    return kind("an engine of the cluster refused") if kind else error


def _failed(error: Exception) -> Future[U8]:
    future: Future[U8] = Future()
    future.set_exception(error)
    return future
