"""Photos in an object store that speaks S3: a server on this machine that the tests start."""

import pytest

from server.exemplars.cipher import is_sealed
from server.exemplars.store import DAY, PhotoStore, StorageError
from server.settings import Settings
from tests.unit.crashing import exemplar_of, expected

FIRST, SECOND = (f"{n:032x}" for n in (0xA1, 0xB2))
NOW = 1_700_000_000.0


def test_photos_are_stored_sealed_in_a_bucket(tmp_path, bucket, database_url):
    files, name = bucket
    settings = Settings(data=tmp_path / "data", database_url=database_url, photos_url=f"s3://{name}/photos")
    store = PhotoStore(settings, clock=lambda: NOW)
    store.check()
    store.add("ann", [exemplar_of(FIRST), exemplar_of(SECOND)], NOW + DAY)
    assert store.picture("ann", FIRST) == expected(FIRST)
    assert files.find(name) == [f"{name}/photos/{FIRST}.jpg", f"{name}/photos/{SECOND}.jpg"]
    assert is_sealed(files.cat_file(f"{name}/photos/{FIRST}.jpg"))
    files.rm_file(f"{name}/photos/{SECOND}.jpg")  # as somebody else might
    assert store.picture("ann", SECOND) is None
    assert store.remove("ann") == [FIRST, SECOND]
    files.invalidate_cache()
    assert files.find(name) == [] and store.photos_of("ann") == []
    store.close()


def test_a_bucket_that_cannot_be_had_is_a_failure_of_storage(tmp_path, bucket):
    settings = Settings(data=tmp_path / "data", photos_url="s3://no such bucket/photos")
    store = PhotoStore(settings, clock=lambda: NOW)
    with pytest.raises(StorageError, match="photos' files cannot be used"):
        store.add("ann", [exemplar_of(FIRST)], NOW + DAY)
    store.close()
