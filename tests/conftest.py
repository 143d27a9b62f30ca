"""What all tests are given: one process, and the storage that is not a folder."""

import os

import pytest

from server.memory import keep_what_is_loaded
from tests.postgresql import Cluster
from tests.s3 import new_bucket

os.environ.setdefault("HIME_WORKERS", "1")  # what is tested is the same on a machine of many cores


@pytest.fixture(scope="session", autouse=True)
def loaded():
    """As `hime serve` does: else whoever leaves a relay of this process holds its event loop up for 0.1 s."""
    keep_what_is_loaded()


@pytest.fixture(scope="session")
def postgresql():
    """The run's own server. Where it cannot be had, tests fail, unless HIME_TEST_POSTGRESQL=0 says to skip them."""
    if os.environ.get("HIME_TEST_POSTGRESQL") == "0":
        pytest.skip("HIME_TEST_POSTGRESQL is 0")
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket of an object store that speaks S3, which every process finds by the environment: its files, and
    its name."""
    with new_bucket(monkeypatch) as made:
        yield made
