"""When a peer is taken for lost: one that answers is not, whatever it sends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from server.media import session as sessions
from server.media.ice_connection import Network
from server.media.rules import SessionRules
from server.media.send.encoder import Encoding
from server.media.session import Session
from tests.unit.enhancer_stage import Clock


class Transport:
    """Answers while its peer is `there`."""

    def __init__(self, *arguments: Any) -> None:
        self.clock = arguments[4]
        self.last_heard: float | None = None
        self.there, self.asked = True, 0

    async def round_trip(self) -> float | None:
        self.asked += 1
        if not self.there:
            return None
        self.last_heard = self.clock()
        return 0.01


class Stage:
    def __init__(self, publishes: bool) -> None:
        self.clock = Clock()
        self.session = Session(
            Network(), Encoding(), self.clock, rules=SessionRules(media_timeout=4, connect_timeout=15)
        )
        self.session._receivers = [SimpleNamespace()] if publishes else []  # type: ignore[list-item]
        self.transport: Any = self.session._transport

    async def lost_after(self, seconds: float) -> bool:
        """Whether it is lost once so much time has passed, with a look every half second."""
        lost = False
        for _ in range(round(2 * seconds)):
            self.clock.now += 0.5
            lost = self.session.is_lost()
            await asyncio.sleep(0)
        return lost


@pytest.fixture(autouse=True)
def transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PeerTransport", Transport)


@pytest.mark.parametrize("publishes", [True, False])
async def test_one_that_answers_is_not_lost_though_it_sends_nothing(publishes: bool) -> None:
    stage = Stage(publishes)
    stage.transport.last_heard = stage.clock()
    assert not await stage.lost_after(600)
    assert 300 <= stage.transport.asked <= 600
    stage.transport.there = False
    assert not await stage.lost_after(3)
    assert await stage.lost_after(4)


async def test_one_that_is_heard_is_not_asked() -> None:
    stage = Stage(publishes=True)
    for _ in range(20):
        stage.transport.last_heard = stage.clock()
        assert not await stage.lost_after(1)
    assert not stage.transport.asked


async def test_one_that_never_comes_is_lost_after_a_longer_time() -> None:
    stage = Stage(publishes=True)
    assert not await stage.lost_after(15)
    assert await stage.lost_after(0.5) and not stage.transport.asked
