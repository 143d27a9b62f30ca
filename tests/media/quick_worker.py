"""A worker as `server.workers.worker` is, with an engine and a detector that do nothing: it is there at once."""

from __future__ import annotations

from fastapi import FastAPI

from server.app import Among, create_app
from server.settings import Settings
from server.standins import FailedDetector, FailedEngine
from server.workers.worker import main
from tests.unit.enhancer_stage import ByColour


def made(settings: Settings, among: Among) -> FastAPI:
    return create_app(settings, FailedEngine(), FailedDetector(), ByColour(), among=among)


if __name__ == "__main__":
    main(made)
