"""The process of `relay_process`: `python -m tests.media.served PORT DATA`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from server.access.access import load_access
from server.cluster.node import Node
from server.serve import _end_on_signals, application, listen, serve
from server.settings import Settings, load_settings
from server.silence import log_to_stderr


def main() -> None:
    _end_on_signals()
    place = os.environ.get("HIME_ENGINE", "worker")  # whose engine does nothing
    settings = load_settings(port=int(sys.argv[1]), data=Path(sys.argv[2]), log_level="warning", engine=place)
    log_to_stderr(settings.log_level)
    listener = listen(settings.host, settings.port)
    port, access = listener.getsockname()[1], load_access(settings)
    modules = {"worker": "tests.media.quick_worker", "engine": "tests.media.quick_engine"}
    serve(application(settings, access, port, partial(_relay, settings), **modules), settings, listener)


def _relay(settings: Settings, node: Node | None = None) -> FastAPI:
    from server.app import create_app
    from server.standins import FailedDetector, FailedEngine
    from tests.unit.enhancer_stage import ByColour

    return create_app(settings, FailedEngine(), FailedDetector(), ByColour(), node=node)


if __name__ == "__main__":
    main()
