"""Processes that work on photos are killed, at random and at each step: nothing acknowledged is lost, and no file is
without its row."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import create_engine, text

from server.exemplars.store import UNFINISHED_SECONDS, PhotoStore
from server.settings import Settings
from server.settings.keys import write_key
from tests.unit.crashing import NOW, PERSON, expected

ROUNDS = 25
OLD, NEW = write_key(bytes(32)), write_key(bytes(range(32)))


@dataclass
class Told:
    """What a killed process had said."""

    added: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    done: bool = False


class Worker:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.crashing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, kill_after: tuple[int, float] | None = None, **job) -> Told:
        """kill_after: how many lines of what was added or deleted, and seconds; none for a process that ends itself."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        told, pid, heard = Told(), 0, 0
        while (words := self.process.stdout.readline().split()) != ["over"]:
            match words:
                case ["pid", number]:
                    pid = int(number)
                case ["added" | "deleting" | "deleted" as what, *ids]:
                    getattr(told, what).update(ids)
                    heard += 1
                case ["done"]:
                    told.done = True
                case ["failed", *why]:
                    pytest.fail(" ".join(why))
                case []:
                    pytest.fail("the worker is gone")
            if kill_after is not None and heard == kill_after[0]:
                time.sleep(kill_after[1])
                os.kill(pid, signal.SIGKILL)
                kill_after = None
        return told

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def options(tmp_path, database_url):
    return {
        "data": str(tmp_path / "data"),
        "database_url": database_url,
        "data_key": OLD,
        "max_photos_per_person": 10_000,
    }


def check_all(options, promised: set[str], gone: set[str]) -> set[str]:
    """Opens the store as after a restart, and compares rows, files and promises; the ids that are there."""
    settings = Settings(**options)
    store = PhotoStore(settings, clock=lambda: NOW + UNFINISHED_SECONDS + 1)
    try:
        for path in (settings.data / "photos").iterdir():
            os.utime(path, (NOW, NOW))  # time passes for files as well
        store.purge()
        there = {photo.id for photo in store.photos_of(PERSON)}
        assert promised <= there and not gone & there
        for id in there:
            assert store.picture(PERSON, id) == expected(id), "a photo is not what was stored"
    finally:
        store.close()
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        rows = set(connection.execute(text("SELECT id FROM photos")).scalars())
    engine.dispose()
    files = os.listdir(settings.data / "photos")
    assert rows == there and sorted(files) == sorted(f"{id}.jpg" for id in there)
    assert {path.name for path in settings.data.iterdir()} <= {"photos", "hime.db", "hime.db-wal", "hime.db-shm"}
    return there


def test_killed_at_random_nothing_acknowledged_is_lost(worker, options):
    PhotoStore(Settings(**options)).check()
    chance = random.Random(0)
    promised, gone, doubtful, told = set(), set(), set(), Told()
    for round in range(ROUNDS):
        moment = chance.randint(0, 4), chance.uniform(0, 0.05)
        told = worker.run(kill_after=moment, do="anything", settings=options, seed=round)
        promised |= told.added - told.deleting
        gone |= told.deleted
        doubtful |= told.deleting - told.deleted
    assert promised and gone
    there = check_all(options, promised, gone)
    assert len(there - promised - doubtful) < 3 * ROUNDS


def steps_of(options) -> Iterator[int]:
    """Every step on SQLite, and every third on PostgreSQL, where each costs more."""
    yield from range(1, 300, 1 if options["database_url"].startswith("sqlite") else 3)
    pytest.fail("it never ended")


@pytest.mark.parametrize("do", ["add", "remove"])
def test_killed_at_each_step_of_adding_and_removing(worker, options, do):
    promised, gone = set(worker.run(do="add", settings=options, die_at=0).added), set()
    for step in steps_of(options):
        job = {}
        if do == "remove":
            (id, *more) = worker.run(do="add", settings=options, die_at=0).added
            promised |= set(more)
            job = {"id": id}
        told = worker.run(do=do, settings=options, die_at=step, **job)
        promised |= told.added
        gone |= told.deleted
        if told.done:
            break
    assert step > 10
    check_all(options, promised, gone)


def test_killed_at_each_step_of_a_rotation_every_photo_stays_readable(worker, options):
    promised = worker.run(do="add", settings=options, die_at=0).added
    older, newer = OLD, NEW
    for step in steps_of(options):
        both = options | {"data_key": f"{newer},{older}"}
        told = worker.run(do="rotate", settings=both, die_at=step)
        check_all(both, promised, set())
        if told.done:
            break
        assert worker.run(do="rotate", settings=both, die_at=0).done
        older, newer = newer, older
    assert step > 10
    check_all(options | {"data_key": newer}, promised, set())


def test_killed_at_each_step_of_the_first_opening_the_next_one_opens(worker, options):
    for step in steps_of(options):
        if worker.run(do="open", settings=options, die_at=step).done:
            break
    assert step > 10
    check_all(options, set(), set())
