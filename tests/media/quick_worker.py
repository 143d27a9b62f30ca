"""A worker as `server.workers.worker` is, with an engine that does nothing and a detector for photos alone: it is there
at once. Where there is an engine process, it asks that one and looks for faces."""

from __future__ import annotations

from fastapi import FastAPI

from server.app import Among, create_app
from server.settings import Settings
from server.standins import FailedEngine
from server.workers.worker import main
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector

PHOTO = 400  # pixels: what is narrower is a call's picture


class InPhotos(FakeDetector):
    def detect(self, rgb, last=()):
        return super().detect(rgb, last) if rgb.shape[1] >= PHOTO else []


def made(settings: Settings, among: Among) -> FastAPI:
    if among.engine is not None:
        return create_app(settings, recogniser=ByColour(), among=among)
    return create_app(settings, FailedEngine(), InPhotos(), ByColour(), among=among)


if __name__ == "__main__":
    main(made)
