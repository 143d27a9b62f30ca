"""The process of `relay_process`: `python -m tests.media.served PORT DATA`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from server.access.access import load_access
from server.serve import _end_on_signals, listen, serve
from server.settings import load_settings
from server.silence import log_to_stderr


def main() -> None:
    _end_on_signals()
    place = os.environ.get("HIME_ENGINE", "worker")  # whose engine does nothing
    settings = load_settings(port=int(sys.argv[1]), data=Path(sys.argv[2]), log_level="warning", engine=place)
    log_to_stderr(settings.log_level)
    listener = listen(settings.host, settings.port)
    if settings.workers > 1:
        from server.workers.front import create_front

        app = create_front(settings, load_access(settings), "tests.media.quick_worker", "tests.media.quick_engine")
    else:
        from server.app import create_app
        from server.standins import FailedDetector, FailedEngine
        from tests.unit.enhancer_stage import ByColour

        app = create_app(settings, FailedEngine(), FailedDetector(), ByColour())
    serve(app, settings, listener)


if __name__ == "__main__":
    main()
