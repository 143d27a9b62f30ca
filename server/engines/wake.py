"""What wakes a thread that waits for sockets."""

from __future__ import annotations

import os


class Wake:
    """Wakes a thread that polls it. To be set from anywhere, also where a garbage collection happens to come by."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:  # and not sooner: whoever might set it has a reference
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def set(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        os.eventfd_read(self._descriptor)
