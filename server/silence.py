"""Nothing of a person is told: what may write to the log, and that a crash leaves no memory behind."""

from __future__ import annotations

import logging
import resource

# Those whose words were read: they name no participant, room or person, and show no picture. Other libraries may log
# what passes through them, as sse_starlette does with events, and SQLAlchemy with a statement's values.
OURS = ("server", "hime_core")
KNOWN = ("aioice", "aiortc", "uvicorn", "asyncio")


def log_to_stderr(level: str) -> None:
    """level: debug, info, warning or error, of our own loggers; of others warnings at most, but for `debug`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    own = logging.getLevelName(level.upper())
    logging.getLogger().setLevel(max(logging.WARNING, own))
    for name in OURS:
        logging.getLogger(name).setLevel(own)
    if level == "debug":
        for name in KNOWN:
            logging.getLogger(name).setLevel(own)


def leave_no_core() -> None:
    """A core dump would hold faces, keys and all that is said."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
