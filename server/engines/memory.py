"""The pictures that go between a worker and an engine process: shared, and gone with the processes that hold them."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import deque

import numpy as np

from hime_core.arrays import U8

SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW  # a file that shrank would end who looks at it


class Slots:
    """A fixed number of places for one face each: first as it is asked for, then as it is answered, over the former.

    The memory is a file without a name (memfd_create), which the kernel frees with the last process that holds it.
    Pages that no face has used yet take none. take() and free() are the worker's, and safe from any thread.
    """

    def __init__(self, file: int, count: int, size: int) -> None:
        """file: a descriptor, which stays the caller's; size: bytes of a slot."""
        self.count, self.size = count, size
        self._bytes: U8 = np.frombuffer(mmap.mmap(file, count * size), np.uint8).reshape(count, size)
        self._free = deque(range(count))

    def take(self) -> int | None:
        """A slot that is free, the one that was freed last: its pages are there already. None where all are used."""
        try:
            return self._free.popleft()
        except IndexError:
            return None

    def free(self, slot: int, used: int) -> None:
        """used: bytes that are overwritten, so that nobody's face stays."""
        self._bytes[slot, :used] = 0
        self._free.appendleft(slot)

    def picture(self, slot: int, side: int) -> U8:
        """RGB uint8 (side, side, 3) in a slot, to be read or written. Raises ValueError where it does not fit."""
        size = 3 * side * side
        if not 0 <= slot < self.count or size > self.size:
            raise ValueError(f"slot {slot} of {self.count} holds no face of {side} pixels")
        return self._bytes[slot, :size].reshape(side, side, 3)


def new_file(size: int) -> int:
    """A descriptor of a file in memory, of fixed size and of zeros, to be closed. Raises OSError."""
    file = os.memfd_create("hime", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, size)
        fcntl.fcntl(file, *SEALS)
    except OSError:
        os.close(file)
        raise
    return file


def written(image: U8) -> int:
    """A descriptor of a file in memory that holds a picture, to be closed. Raises OSError."""
    file = new_file(image.nbytes)
    os.pwrite(file, np.ascontiguousarray(image).data, 0)
    return file


def read(file: int, shape: tuple[int, int, int]) -> U8:
    """The picture in a file; raises ValueError where it is not as large."""
    image = np.empty(shape, np.uint8)
    if os.fstat(file).st_size != image.nbytes or os.preadv(file, [image.data], 0) != image.nbytes:
        raise ValueError(f"the file does not hold a picture of {shape}")
    return image
