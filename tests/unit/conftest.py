"""The stage that the enhancer's tests play on."""

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
