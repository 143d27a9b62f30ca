"""How many threads the network takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CORES_PER_LANE = 4  # of a CPU that runs faces: the rest decodes, tracks and encodes


def cpu_lanes() -> int:
    """Threads that run faces on a CPU, one face each."""
    return max(1, (os.cpu_count() or 1) // CORES_PER_LANE)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch keeps to the caller's thread inside: for work so small that more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
