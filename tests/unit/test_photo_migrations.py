"""Databases of earlier versions are taken over, and what the migrations make is what the code expects."""

import json

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from server.exemplars.audit import AuditLog
from server.exemplars.cipher import is_sealed
from server.exemplars.errors import KeyUnavailable
from server.exemplars.rotation import Rotation, rotate
from server.exemplars.schema import Base
from server.exemplars.storage import Storage
from server.exemplars.store import DAY, PhotoStore, StorageError
from server.settings import Settings
from server.settings.keys import write_key
from tests.unit.crashing import exemplar_of, expected

NAME = "Wilhelmina_Planted-77"
KEY = write_key(bytes(32))
NOW = 1_700_000_000.0
FIRST, SECOND, DELETED = (f"{n:032x}" for n in (0xA1, 0xB2, 0xC3))

# What version 0.1.0 made by create_all: SQLite's words, which PostgreSQL takes as well.
TABLE = """
CREATE TABLE exemplars (
    id VARCHAR NOT NULL, person VARCHAR NOT NULL, created_at DOUBLE PRECISION NOT NULL,
    consent_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION NOT NULL, stored BOOLEAN NOT NULL,
    box JSON NOT NULL, headshot JSON NOT NULL, landmarks JSON NOT NULL, sharpness DOUBLE PRECISION NOT NULL,
    yaw DOUBLE PRECISION NOT NULL, light DOUBLE PRECISION NOT NULL, PRIMARY KEY (id)
)
"""
INDICES = (
    "CREATE INDEX ix_exemplars_expires_at ON exemplars (expires_at)",
    "CREATE INDEX ix_exemplars_person ON exemplars (person)",
)


@pytest.fixture
def settings(tmp_path, database_url):
    return Settings(data=tmp_path / "data", database_url=database_url, data_key=KEY)


@pytest.fixture
def early(settings):
    """A database and files as version 0.1.0 left them: two photos, and one whose deletion was cut short."""
    photos = settings.data / "photos"
    photos.mkdir(parents=True)
    engine = create_engine(settings.database)
    with engine.begin() as connection:
        for statement in (TABLE, *INDICES):
            connection.execute(text(statement))
        for id in (FIRST, SECOND, DELETED):
            exemplar, _ = exemplar_of(id)
            row = {
                "id": id,
                "person": NAME,
                "created_at": NOW,
                "consent_at": NOW,
                "expires_at": 0.0 if id == DELETED else NOW + 100 * DAY,
                "stored": True,
                "box": "[10, 10, 30, 40]",
                "headshot": "[48.0, 48.0, 48.0]",
                "landmarks": json.dumps(exemplar.landmarks.astype(float).tolist()),
                "sharpness": 0.8,
                "yaw": 3.0,
                "light": 0.5,
            }
            names = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO exemplars ({', '.join(row)}) VALUES ({names})"), row)
            (photos / f"{id}.jpg").write_bytes(expected(id))
    engine.dispose()
    return settings


def test_what_the_migrations_make_is_what_the_code_expects(settings):
    store = PhotoStore(settings)
    store.check()
    store.close()
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_photos_of_an_earlier_version_are_served_at_once_and_sealed_by_the_first_purge(early):
    store = PhotoStore(early, clock=lambda: NOW + DAY)
    for _ in range(2):  # in the clear, and sealed
        assert [photo.id for photo in store.photos_of(NAME)] == [FIRST, SECOND]
        assert store.picture(NAME, FIRST) == expected(FIRST) and store.picture(NAME, DELETED) is None
        first, _ = store.exemplars_of(NAME)
        assert np.allclose(first.landmarks, exemplar_of(FIRST)[0].landmarks) and first.headshot.side == 48
        store.purge()
    files = {path.name: path.read_bytes() for path in (early.data / "photos").iterdir()}
    assert set(files) == {f"{FIRST}.jpg", f"{SECOND}.jpg"} and all(map(is_sealed, files.values()))
    consents = [entry for entry in AuditLog(store._storage).entries(NAME) if entry.action == "consent"]
    assert [(entry.exemplar, entry.time) for entry in consents] == [(FIRST, NOW), (SECOND, NOW)]
    assert consents[0].terms == {"expires_at": NOW + 100 * DAY, "wording": "api-1"}
    store.close()
    everything = b"".join(path.read_bytes() for path in early.data.rglob("*") if path.is_file())
    landmark = str(float(exemplar_of(FIRST)[0].landmarks[0, 0]))
    for word in (NAME, landmark, "headshot"):
        assert word.encode() not in everything


def test_a_rotation_seals_them_as_well(early):
    storage = Storage(early)
    assert rotate(storage) == Rotation(2, 0)  # of what is deleted, nothing is written anew
    storage.close()
    assert all(is_sealed((early.data / "photos" / f"{id}.jpg").read_bytes()) for id in (FIRST, SECOND))


def test_a_file_in_the_clear_that_cannot_be_replaced_is_served_and_sealed_later(early, monkeypatch):
    from server.exemplars.files import Files

    def full(files, id, data):
        raise StorageError("the photos' files cannot be used (OSError)")

    store = PhotoStore(early, clock=lambda: NOW)
    monkeypatch.setattr(Files, "write", full)
    store.purge()
    assert store.picture(NAME, FIRST) == expected(FIRST)
    monkeypatch.undo()
    store.purge()
    assert is_sealed((early.data / "photos" / f"{FIRST}.jpg").read_bytes())
    assert store.picture(NAME, FIRST) == expected(FIRST)
    store.close()


def test_without_its_key_a_migration_changes_nothing(early):
    wrong = early.model_copy(update={"data_key": type(early.data_key)(""), "data_key_file": early.data / "missing"})
    store = PhotoStore(wrong)
    with pytest.raises(KeyUnavailable, match="missing"):
        store.check()
    store.close()
    engine = create_engine(early.database)
    assert inspect(engine).get_table_names() == ["exemplars"]
    engine.dispose()
    store = PhotoStore(early, clock=lambda: NOW)
    assert store.picture(NAME, FIRST) == expected(FIRST)
    store.close()


def test_a_migration_that_fails_half_way_changes_nothing(early, monkeypatch):
    from server.exemplars.cipher import Keyring

    def fails(keyring, plain, context):
        if context.startswith("face:"):
            raise OSError("no room")
        return seal(keyring, plain, context)

    seal = Keyring.seal
    monkeypatch.setattr(Keyring, "seal", fails)
    store = PhotoStore(early, clock=lambda: NOW)
    with pytest.raises(StorageError):
        store.check()
    monkeypatch.undo()
    engine = create_engine(early.database)
    assert inspect(engine).get_table_names() == ["exemplars"]
    engine.dispose()
    assert store.picture(NAME, FIRST) == expected(FIRST)
    store.close()
