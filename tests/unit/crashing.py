"""A process that works on a photo store and is killed meanwhile: `python -m tests.unit.crashing`.

It reads jobs, one JSON object a line, and does each in a fork of its own, so that nothing is loaded twice. A fork says
what happens: `pid P`, `added ID…`, `deleting ID`, `deleted ID`, `done`; when it has ended, `over` follows.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import sys
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Engine, event

from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Box, Headshot
from server.exemplars.photo import jpeg_of
from server.exemplars.rotation import rotate
from server.exemplars.storage import Storage
from server.exemplars.store import DAY, PhotoStore
from server.settings import Settings

PERSON = "ann"
NOW = 1_700_000_000.0
SIDE = 96
EVENTS = ("open", "os.remove", "os.rename", "os.mkdir", "os.chmod", "os.truncate")


def picture_of(id: str) -> np.ndarray:
    """A picture that is the id's alone."""
    return np.random.default_rng(int(id[:16], 16)).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def exemplar_of(id: str) -> tuple[Exemplar, Box]:
    landmarks = np.random.default_rng(1).uniform(0, SIDE, (5, 2)).astype(np.float32)
    exemplar = Exemplar(id, picture_of(id), Headshot(48, 48, 48), landmarks, 0.8, 3.0, 0.5, "photo", 0, 0.0, 48.0)
    return exemplar, Box(10, 10, 30, 40)


def expected(id: str) -> bytes:
    return jpeg_of(exemplar_of(id)[0])


@dataclass
class Doom:
    """Ends the process by SIGKILL at the n-th step that changes a file or speaks to the database; 0: never."""

    at: int
    steps: int = 0

    def step(self, *_: object) -> None:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        sys.addaudithook(lambda name, _: self.step() if name in EVENTS else None)
        for name in ("commit", "rollback", "before_cursor_execute", "after_cursor_execute"):
            event.listen(Engine, name, self.step)
        fsync = os.fsync

        def fsync_and_step(descriptor: int) -> None:
            fsync(descriptor)
            self.step()

        os.fsync = fsync_and_step


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # at once, whatever comes next


def add(store: PhotoStore, count: int) -> list[str]:
    ids = [secrets.token_hex(16) for _ in range(count)]
    store.add(PERSON, [exemplar_of(id) for id in ids], NOW + 300 * DAY)
    say("added", *ids)
    return ids


def remove(store: PhotoStore, id: str) -> None:
    say("deleting", id)
    store.remove(PERSON, id)
    say("deleted", id)


def work(job: dict) -> None:
    settings = Settings(**job["settings"])
    store = PhotoStore(settings, clock=lambda: NOW)
    match job["do"]:
        case "anything":
            chance, mine = random.Random(job["seed"]), []
            while True:
                if len(mine) > 3 or (mine and chance.random() < 0.3):
                    remove(store, mine.pop(chance.randrange(len(mine))))
                else:
                    mine += add(store, chance.randint(1, 3))
        case "add":
            store.check()
            Doom(job["die_at"]).watch()
            add(store, 2)
        case "remove":
            store.check()
            Doom(job["die_at"]).watch()
            remove(store, job["id"])
        case "rotate":
            storage = Storage(settings)
            storage.checkpoint()
            Doom(job["die_at"]).watch()
            rotate(storage)
        case "open":
            Doom(job["die_at"]).watch()
            store.check()
    say("done")


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say("pid", os.getpid())
            try:
                work(json.loads(line))
            except BaseException as error:
                say("failed", repr(error))
                raise
            os._exit(0)
        os.waitpid(child, 0)
        say("over")


if __name__ == "__main__":
    main()
