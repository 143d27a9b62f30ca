"""The exemplars' part of a relay, for the tests of its interface."""

from types import SimpleNamespace

from fastapi import FastAPI

from server import problems
from server.access.access import load_access
from server.exemplars.routes import router
from server.exemplars.service import ExemplarService
from server.exemplars.store import PhotoStore
from server.limits import Limits
from server.limits.bodies import BodyLimit
from server.observability.metrics import Metrics
from server.settings import Settings
from tests.unit.relay_fakes import FakeDetector, FakeEngine, FakeRooms

URL = "/api/people/ann/exemplars"


class Clock:
    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


class World:
    """The exemplars' part of a relay over a directory, with everything around it a stand-in."""

    def __init__(self, data, recogniser=None, **settings):
        self.settings = Settings(data=data, **settings)
        self.clock = Clock()
        self.store = self.open_store()
        self.engine, self.detector, self.rooms = FakeEngine(), FakeDetector(), FakeRooms()
        self.metrics = Metrics()
        self.service = ExemplarService(
            self.settings,
            self.store,
            self.engine,
            self.detector,
            self.rooms,
            clock=self.clock,
            recogniser=recogniser,
            refused=self.metrics.refused,
        )
        self.app = FastAPI()
        self.app.state.relay = SimpleNamespace(
            settings=self.settings,
            access=load_access(self.settings),
            metrics=self.metrics,
            failures={},
            exemplars=self.service,
            limits=Limits(self.settings, self.metrics.refused),
        )
        self.app.add_middleware(BodyLimit, limit=lambda path: 30_000_000)
        problems.install(self.app)
        self.app.include_router(router)

    def open_store(self):
        return PhotoStore(self.settings, self.clock)

    def files(self):
        photos = self.settings.data / "photos"
        return sorted(photos.iterdir()) if photos.exists() else []


def upload(*photos: bytes, names="photo.jpg"):
    return [("photos", (names, photo, "image/jpeg")) for photo in photos]


async def register(client, *photos, person="ann", **form):
    form = {"consent": "true"} | form
    return await client.post(f"/api/people/{person}/exemplars", files=upload(*photos), data=form)
