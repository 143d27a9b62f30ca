"""An engine that all nodes may use: runs in a process of Ray's."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from hime_core.arrays import F32, U8
from hime_core.engine.protocol import Engine, FaceRequest, Late, Overload
from hime_core.exemplars.exemplar import Exemplar
from server.cluster.parcels import count, cut, unpack
from server.cluster.told import FaceRefused

KEPT = 120.0  # seconds without use, after which an exemplar is dropped that nobody said to forget
MOST = 512  # exemplars; the least recently used go first
FORGOTTEN = 10_000  # ids that are not taken again: what was on its way when they were forgotten comes later


class EngineActor:
    """Each method is a coroutine of one event loop."""

    def __init__(
        self,
        weights: str,
        device: str,
        build: Callable[[str, str], Engine] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Loads the network. Raises CheckpointError."""
        self._engine: Engine = (build or _build)(weights, device)
        self._clock = clock
        self._exemplars: OrderedDict[str, tuple[Exemplar, float]] = OrderedDict()  # with the last use
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    async def scale(self) -> int:
        return self._engine.scale

    async def enhance(
        self, stream: str, lr: U8, landmarks: F32, ids: tuple[str, ...], seconds: float, *new: bytes
    ) -> list[bytes] | bytes:
        """One face. ids: of its exemplars, best first; seconds: that are left until its deadline; new: exemplars that
        this actor may lack, packed. The result is cut; empty pieces where exemplars are lacking still. Raises
        FaceRefused."""
        self._drop_unused()
        for exemplar in unpack(new):
            if exemplar.id not in self._forgotten:
                self._exemplars[exemplar.id] = exemplar, self._clock()
        pieces = count(lr.shape[0] * self._engine.scale)
        if any(id not in self._exemplars for id in ids):
            return [b""] * pieces if pieces > 1 else b""
        for id in ids:
            self._exemplars[id] = self._exemplars[id][0], self._clock()
            self._exemplars.move_to_end(id)
        request = FaceRequest(
            lr, landmarks, tuple(self._exemplars[id][0] for id in ids), stream, self._clock() + seconds
        )
        try:
            found = cut(await asyncio.wrap_future(self._engine.submit([request])[0]))
        except (Late, Overload) as error:
            raise FaceRefused(type(error).__name__) from None
        return found if pieces > 1 else found[0]

    async def forget(self, ids: tuple[str, ...]) -> None:
        for id in ids:
            self._forgotten[id] = None
        while len(self._forgotten) > FORGOTTEN:
            self._forgotten.popitem(last=False)
        self._drop(ids)

    async def held(self) -> int:
        """How many exemplars there are."""
        self._drop_unused()
        return len(self._exemplars)

    def _drop_unused(self) -> None:
        now, items = self._clock(), list(self._exemplars.items())
        surplus = len(items) - MOST
        self._drop([id for at, (id, (_, used)) in enumerate(items) if at < surplus or now - used > KEPT])

    def _drop(self, ids: Iterable[str]) -> None:
        gone = [id for id in ids if self._exemplars.pop(id, None) is not None]
        if gone:
            self._engine.forget(gone)


def _build(weights: str, device: str) -> Engine:
    import torch

    from hime_core.engine import build_engine

    torch.set_num_threads(1)
    return build_engine(weights, None if device == "auto" else device)
