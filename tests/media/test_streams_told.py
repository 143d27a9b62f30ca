"""What the dashboard is told of single streams, in real calls."""

from __future__ import annotations

from benchmarks.shared.peers import MovingVideo, serving, until
from server.access.caller import Caller
from server.access.keys import ApiKey
from server.access.tokens import Grant, Token
from server.rooms.stream_routes import may_see


async def test_a_stream_is_told_of_with_its_watchers() -> None:
    async with serving() as relay:
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        await until(lambda: relay.rooms.get("r").participants["ann"].joined)
        watcher = await relay.peer().watch("/whep/r/ann?view=original&layout=native", ("video",))
        await until(lambda: len(watcher.frames) > 20)
        (stream,) = (await relay.http.get("/api/stats/streams")).json()["streams"]
        assert (stream["room"], stream["name"]) == ("r", "ann")  # no token is asked for here
        assert stream["fps_in"] > 0
        (one,) = stream["watchers"]
        assert (one["number"], one["view"], one["layout"]) == (1, "original", "native")
        assert one["kbps"] > 0 and one["path_kbps"] > 0 and one["loss"] == 0.0
        number = stream["number"]
        (hidden,) = relay.rooms.streams()
        assert hidden.room is hidden.name is None and hidden.number == number
        again = await relay.peer().publish("/whip/r/bob", MovingVideo())
        await until(lambda: len(relay.rooms.streams()) == 2)
        assert [one.number for one in relay.rooms.streams()] == [number, number + 1]
        await again.leave()


def test_names_are_for_those_who_may_see_them() -> None:
    def holder(**rights: bool) -> Caller:
        return Caller("ann", Token("key", "ann", Grant("r", **rights), 0.0, frozenset(), False))

    assert may_see(Caller("127.0.0.1"), "r")
    assert may_see(Caller("key:k", key=ApiKey("k", "x" * 32, frozenset({"observe"}))), "r")
    assert not may_see(Caller("key:k", key=ApiKey("k", "x" * 32, frozenset({"tokens"}))), "r")
    assert may_see(holder(join=True, admin=True), "r")
    assert not may_see(holder(join=True, admin=True), "s")
    assert not may_see(holder(join=True, watch=True), "r")
