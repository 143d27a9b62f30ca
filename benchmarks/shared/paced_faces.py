"""Faces that are sent to an engine at a steady rate, and when they are answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hime_core.engine import Engine, FaceRequest

LATE = 0.1  # seconds that a face has


@dataclass(frozen=True)
class Answered:
    """p50, p95: of the answer times of the faces that were not refused, ms; refused: 0..1; batch: faces in one, on
    average; behind: the most that the sender itself was, ms."""

    faces: int
    p50: float
    p95: float
    refused: float
    batch: float
    behind: float


def answered(
    engine: Engine, sizes: list[int], groups: Sequence[Sequence[FaceRequest]], rate: float, seconds: float
) -> Answered:  # fmt: skip
    """Returns when all are answered, timed by callbacks. sizes: what the engine's on_batch fills; groups: of one size,
    by turns, each sent at once; rate: faces a second."""
    taken: list[float] = []
    refused, lock = 0, threading.Lock()
    sizes.clear()
    size = len(groups[0])
    began, behind, pending = time.monotonic() + 0.1, 0.0, []
    for number in range(int(seconds * rate / size)):
        due = began + number * size / rate
        time.sleep(max(0.0, due - time.monotonic()))
        start = time.monotonic()
        behind = max(behind, start - due)

        def done(answer: Any, start: float = start) -> None:
            nonlocal refused
            with lock:
                if answer.cancelled() or answer.exception():
                    refused += 1
                else:
                    taken.append(time.monotonic() - start)

        asked = [replace(face, deadline=start + LATE) for face in groups[number % len(groups)]]
        for future in engine.submit(asked):
            future.add_done_callback(done)
            pending.append(future)
    for future in pending:
        future.exception(timeout=30)
    p50, p95 = np.percentile([1e3 * t for t in taken] or [np.nan], (50, 95))
    batch = float(np.mean(sizes)) if sizes else 0.0
    return Answered(len(pending), float(p50), float(p95), refused / len(pending), batch, 1e3 * behind)
