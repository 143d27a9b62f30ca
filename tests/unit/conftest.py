"""The stage that the enhancer's tests play on, and the databases that the tests of storage run against."""

import pytest

from tests.unit.enhancer_stage import Clock, Engine, Scene


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scene():
    return Scene()


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """An empty database's URL, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'hime.db'}"
    return request.getfixturevalue("postgresql").new_database()
