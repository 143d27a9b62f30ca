"""When the machine has nothing left to give: no file descriptor, no thread, no memory."""

from __future__ import annotations

import errno

ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN}
RETRY_SECONDS = 10  # that callers are asked to wait


class Exhausted(RuntimeError):
    """Something new cannot be begun now; what runs goes on."""


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that the machine has no more of something."""
    if isinstance(error, OSError):
        return error.errno in ERRNOS
    return isinstance(error, Exhausted | MemoryError) or "can't start new thread" in str(error)
