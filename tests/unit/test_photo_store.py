"""What is stored of people: sealed, under keys that change, in each database, and found again after failures."""

import json
import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, inspect, text

from server.exemplars import database, errors
from server.exemplars.audit import AuditLog
from server.exemplars.rotation import Rotation, rotate
from server.exemplars.storage import Storage
from server.exemplars.store import DAY, PhotoStore, StorageError, StoreFull
from server.settings import InvalidSettings, Settings, load_settings
from server.settings.keys import write_key
from tests.unit.crashing import exemplar_of, expected

NAME = "Wilhelmina_Planted-77"
OLD, NEW, OTHER = (write_key(bytes([n]) * 32) for n in (1, 2, 3))
FIRST, SECOND, THIRD = (f"{n:032x}" for n in (0xA1, 0xB2, 0xC3))
NOW = 1_700_000_000.0


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_store(tmp_path, database_url, clock):
    """Opens the store as a process with these settings would."""
    opened = []

    def opening(**options):
        settings = Settings(**({"data": tmp_path / "data", "database_url": database_url} | options))
        store = PhotoStore(settings, clock)
        opened.append(store)
        return store

    yield opening
    for store in opened:
        store.close()


def put(store, *ids, person=NAME, days=100, **more):
    return store.add(person, [exemplar_of(id) for id in ids], NOW + days * DAY, **more)


def files(tmp_path):
    folder = tmp_path / "data" / "photos"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def everything_in(url):
    """All values of all tables, as text."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = [
            [value.hex() if isinstance(value, bytes) else value for value in row]
            for table in inspect(connection).get_table_names()
            for row in connection.execute(text(f'SELECT * FROM "{table}"'))
        ]
    engine.dispose()
    return json.dumps(rows)


def test_what_lies_on_the_disk_tells_of_no_face_and_no_name(open_store, tmp_path, database_url):
    store = open_store()
    put(store, FIRST)
    assert store.picture(NAME, FIRST) == expected(FIRST)
    (photo,) = store.photos_of(NAME)
    store.close()
    numbers = [str(value) for point in photo.face.landmarks for value in point]
    words = [NAME, "landmarks", "headshot", *numbers]
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    in_rows = everything_in(database_url)
    for word in words:
        assert word.encode() not in on_disk and word not in in_rows and word.encode().hex() not in in_rows
    assert expected(FIRST)[:4] not in on_disk  # JPEG's first bytes
    assert FIRST in in_rows  # so the search would have found what is there


def test_files_and_faces_do_not_open_as_anothers(open_store, tmp_path, database_url):
    store = open_store()
    put(store, FIRST)
    put(store, SECOND, person="bob")
    photos = tmp_path / "data" / "photos"
    first, second = (photos / f"{id}.jpg" for id in (FIRST, SECOND))
    data = first.read_bytes()
    second.write_bytes(data)
    with pytest.raises(StorageError, match="changed from outside"):
        store.picture("bob", SECOND)
    first.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError, match="damaged"):
        store.picture(NAME, FIRST)
    first.write_bytes(expected(FIRST))  # a picture in the clear, where a sealed one was
    with pytest.raises(StorageError, match="not encrypted"):
        store.picture(NAME, FIRST)
    engine = create_engine(database_url)
    with engine.begin() as connection:
        (ann,) = connection.execute(text("SELECT person FROM photos WHERE id = :id"), {"id": FIRST}).scalars()
        connection.execute(text("UPDATE photos SET person = :ann WHERE id = :id"), {"ann": ann, "id": SECOND})
    engine.dispose()
    with pytest.raises(StorageError, match="changed from outside"):
        store.photos_of(NAME)


def test_a_wrong_key_or_none_is_said_and_destroys_nothing(open_store, tmp_path, clock, database_url):
    put(open_store(data_key=OLD), FIRST, days=1)
    before = files(tmp_path), everything_in(database_url)
    clock.now = NOW + 2 * DAY  # the photo has expired, but nobody can tell for sure
    for wrong, words in (({"data_key": OTHER}, "is not given"), ({}, "key is missing")):
        store = open_store(**wrong)
        for attempt in (
            store.check,
            store.purge,
            lambda store=store: store.photos_of(NAME),
            lambda store=store: store.picture(NAME, FIRST),
            lambda store=store: put(store, SECOND),
            lambda store=store: store.remove(NAME),
        ):
            with pytest.raises(errors.KeyUnavailable, match=words):
                attempt()
    assert (files(tmp_path), everything_in(database_url)) == before
    assert not (tmp_path / "data" / "hime.key").exists()
    clock.now = NOW
    assert open_store(data_key=OLD).picture(NAME, FIRST) == expected(FIRST)


def test_a_key_that_comes_later_is_taken_without_a_restart(open_store, tmp_path):
    file = tmp_path / "key"
    store = open_store(data_key_file=file)
    with pytest.raises(errors.KeyUnavailable, match="missing"):
        store.check()
    file.write_text("nonsense")
    with pytest.raises(errors.KeyUnavailable, match="key 1 is not 32 bytes"):
        store.check()
    file.write_text(f"{NEW}\n{OLD}\n")
    store.check()
    put(store, FIRST)
    assert open_store(data_key=NEW).picture(NAME, FIRST) == expected(FIRST)


def test_without_a_key_one_is_made_once_for_the_owner_alone(open_store, tmp_path):
    store = open_store()
    put(store, FIRST)
    file = tmp_path / "data" / "hime.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text()
    assert open_store().picture(NAME, FIRST) == expected(FIRST) and file.read_text() == key
    file.unlink()
    with pytest.raises(errors.KeyUnavailable, match=r"put hime.key back"):
        open_store().check()
    assert not file.exists()
    file.write_text(key)
    assert open_store().picture(NAME, FIRST) == expected(FIRST)


def test_photos_under_a_lost_key_are_told_of_and_kept_until_they_expire(open_store, tmp_path, clock, database_url):
    put(open_store(data_key=OLD), FIRST)
    both = Storage(Settings(data=tmp_path / "data", database_url=database_url, data_key=f"{NEW},{OLD}"))
    assert rotate(both) == Rotation(1, 0)
    both.close()
    put(open_store(data_key=f"{OLD},{NEW}"), SECOND, days=1)
    store = open_store(data_key=NEW)
    with pytest.raises(errors.KeyUnavailable, match=r"\(1\) are encrypted with a key that is not given"):
        store.check()
    with pytest.raises(errors.KeyUnavailable):
        store.picture(NAME, SECOND)
    assert store.picture(NAME, FIRST) == expected(FIRST)
    assert store.purge() == []
    assert f"{SECOND}.jpg" in files(tmp_path)
    clock.now = NOW + DAY
    assert store.purge() == [SECOND]
    store.check()


def test_after_a_rotation_the_newest_key_alone_opens_everything(open_store, tmp_path, database_url):
    put(open_store(data_key=OLD), FIRST, SECOND)
    running = open_store(data_key=f"{NEW},{OLD}")  # the relay, restarted with both
    running.check()
    storage = Storage(Settings(data=tmp_path / "data", database_url=database_url, data_key=f"{NEW},{OLD}"))
    seen = []

    def meanwhile():
        seen.append(running.picture(NAME, FIRST))
        if len(seen) == 1:
            put(running, THIRD)
            running.remove(NAME, SECOND)

    rotation = rotate(storage, meanwhile)
    assert rotation.left == 0 and rotation.sealed in (1, 2)
    assert rotate(storage) == Rotation(0, 0)
    storage.close()
    assert set(seen) == {expected(FIRST)}
    store = open_store(data_key=NEW)
    assert {photo.id for photo in store.photos_of(NAME)} == {FIRST, THIRD}
    assert store.picture(NAME, FIRST) == expected(FIRST) and store.picture(NAME, THIRD) == expected(THIRD)
    assert set(files(tmp_path)) == {f"{FIRST}.jpg", f"{THIRD}.jpg"}
    with pytest.raises(errors.KeyUnavailable):
        open_store(data_key=OLD).check()


def test_a_rotation_leaves_what_it_cannot_open_and_says_so(open_store, tmp_path, database_url):
    put(open_store(data_key=OLD), FIRST, SECOND)
    damaged = tmp_path / "data" / "photos" / f"{FIRST}.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    kept = damaged.read_bytes()
    storage = Storage(Settings(data=tmp_path / "data", database_url=database_url, data_key=f"{NEW},{OLD}"))
    assert rotate(storage) == Rotation(1, 1)
    storage.close()
    assert damaged.read_bytes() == kept
    with pytest.raises(errors.KeyUnavailable):  # the older key is still needed, so leaving it out shows at once
        open_store(data_key=NEW).check()


def test_the_audit_log_tells_who_did_what_and_holds_no_name(open_store, tmp_path, database_url, clock):
    store = open_store(audit_days=200)
    put(store, FIRST, actor=NAME, wording="page-1")
    clock.now += 10
    store.photos_of(NAME, actor="operator")
    store.picture(NAME, FIRST, actor="operator")
    store.picture(NAME, SECOND, actor="operator")  # there is none: nothing was seen
    store.exemplars_of(NAME, actor=NAME)
    store.photos_of("nobody-known", actor="operator")
    put(store, THIRD, person="bob", days=1)
    clock.now += 2 * DAY
    store.purge()
    store.remove(NAME, actor=NAME)
    assert store.remove(NAME, actor="operator") == []
    log = AuditLog(store._storage)
    name = store._storage.pseudonyms.of(NAME)
    about = log.entries(person=NAME)
    assert [(entry.action, entry.actor == name, entry.exemplar) for entry in about] == [
        ("consent", True, FIRST),
        ("list", False, None),
        ("view", False, FIRST),
        ("use", True, None),
        ("forget", True, None),
        ("delete", True, FIRST),
        ("forget", False, None),
    ]
    assert about[0].time == NOW and about[1].time == NOW + 10
    assert about[0].terms == {"expires_at": NOW + 100 * DAY, "wording": "page-1"}
    assert [entry.action for entry in log.entries(actor="operator")] == ["list", "view", "forget"]
    assert [entry.action for entry in log.entries(person="bob")] == ["consent", "expire"]
    assert NAME not in everything_in(database_url) and "operator" not in everything_in(database_url)
    clock.now = NOW + 201 * DAY
    store.purge()
    assert [entry.action for entry in log.entries()] == ["expire", "forget", "delete", "forget"]


def test_what_fails_is_in_the_audit_log_neither(open_store, monkeypatch):
    store = open_store(max_photos_per_person=1)
    put(store, FIRST)
    with pytest.raises(StoreFull):
        put(store, SECOND)
    monkeypatch.setattr(AuditLog, "record", lambda *_, **__: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
    with pytest.raises(sqlite3.OperationalError):
        store.picture(NAME, FIRST)
    monkeypatch.undo()
    assert [entry.action for entry in AuditLog(store._storage).entries()] == ["consent"]


def test_many_threads_at_once(open_store):
    store = open_store(max_photos_per_person=1000)

    def use(number):
        ids = [f"{number:016x}{n:016x}" for n in range(3)]
        put(store, *ids, person=f"p{number % 3}")
        assert store.picture(f"p{number % 3}", ids[0]) == expected(ids[0])
        store.remove(f"p{number % 3}", ids[1])
        return [ids[0], ids[2]]

    with ThreadPoolExecutor(6) as pool:
        kept = [id for ids in pool.map(use, range(12)) for id in ids]
    assert sorted(photo.id for n in range(3) for photo in store.photos_of(f"p{n}")) == sorted(kept)


def test_relays_that_open_an_empty_database_at_once_agree(open_store):
    stores = [open_store() for _ in range(5)]
    barrier = threading.Barrier(len(stores))

    def use(number, store):
        barrier.wait()
        put(store, f"{number + 1:032x}")

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(use, range(len(stores)), stores))
    assert len(stores[0].photos_of(NAME)) == len(stores)


def test_a_database_of_a_later_version_is_left_alone(open_store, database_url):
    open_store(data_key=OLD).check()
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(errors.SchemaTooNew, match="later version"):
        open_store(data_key=OLD).check()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_that_is_locked_fails_for_the_moment_and_serves_again(open_store, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SQLITE_PRAGMAS", ("busy_timeout = 50", *database.SQLITE_PRAGMAS[1:]))
    store = open_store()
    put(store, FIRST)
    other = sqlite3.connect(tmp_path / "data" / "hime.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match="OperationalError"):
        store.picture(NAME, FIRST)
    other.execute("ROLLBACK")
    assert store.picture(NAME, FIRST) == expected(FIRST)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_a_new_sqlite_database_can_be_opened_by_many_at_once(tmp_path):
    """SQLite does not wait by itself where the journal's mode changes: of 150 such rounds, 5 failed."""
    for number in range(60):
        connections = [sqlite3.connect(tmp_path / f"{number}.db", check_same_thread=False) for _ in range(8)]
        barrier = threading.Barrier(len(connections))

        def use(connection, barrier=barrier):
            barrier.wait()
            database._prepare_sqlite(connection, None)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
            return connection.execute("PRAGMA journal_mode").fetchone()[0]

        with ThreadPoolExecutor(len(connections)) as pool:
            assert set(pool.map(use, connections)) == {"wal"}
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_that_goes_away_and_returns(open_store, postgresql):
    store = open_store()
    put(store, FIRST)
    postgresql.stop()
    try:
        for attempt in (store.check, lambda: put(store, SECOND), lambda: store.remove(NAME)):
            with pytest.raises(StorageError, match="database cannot be used"):
                attempt()
    finally:
        postgresql.start()
    assert store.picture(NAME, FIRST) == expected(FIRST)
    put(store, SECOND)
    store.check()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"data_key": "short"}, "HIME_DATA_KEY: key 1 is not 32 bytes"),
        ({"data_key": f"{OLD},{OLD[:-4]}"}, "HIME_DATA_KEY: key 2 is not 32 bytes"),
        ({"data_key": " , "}, "no key is given"),
        ({"data_key": OLD, "data_key_file": "k"}, "give one of the two"),
        ({"database_url": "mysql://x/y"}, "sqlite or postgresql"),
        ({"database_url": "sqlite://"}, "needs a file"),
    ],
)
def test_wrong_settings_are_named_and_no_key_is_repeated(monkeypatch, options, words):
    for name, value in options.items():
        monkeypatch.setenv(f"HIME_{name.upper()}", value)
    with pytest.raises(InvalidSettings, match=words) as caught:
        load_settings()
    assert OLD[:20] not in str(caught.value) and "short" not in str(caught.value)
    assert OLD not in repr(Settings(data_key=OLD, data_key_file=None, database_url=""))


def test_local_files_are_replaced_in_one_step_and_on_the_disk(open_store, monkeypatch, tmp_path):
    store = open_store()
    store.check()
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (steps.append(name), real(*args))[1])
    put(store, FIRST)
    assert steps == ["fsync", "replace", "fsync"]  # the file, its name, the directory
