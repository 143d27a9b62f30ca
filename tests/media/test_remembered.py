"""Who is known in a publisher's picture: their photos, what a call has shown of them, and how long it is remembered."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.shared.peers import MovingVideo, Peer, Relay, serving, until
from benchmarks.shared.portrait import CLOSE_FRAMES, WALK_FRAMES, Portrait
from benchmarks.shared.stand_ins import SlowEngine
from hime_core.engine.protocol import FaceRequest
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot
from hime_core.people.people import People
from tests.media.test_enhanced_call import counts, relay_of
from tests.unit.enhancer_stage import ByColour

FAR = CLOSE_FRAMES + WALK_FRAMES


def exemplar(id: str, source: str = "photo") -> Exemplar:
    image = np.full((300, 300, 3), (200, 30, 30), np.uint8)
    points = np.array([[120, 120], [180, 120], [150, 160], [125, 190], [175, 190]], np.float32)
    return Exemplar(id, image, Headshot(150, 150, 200), points, 0.5, 3, 0.4, source, 0, 0, 200.0)  # type: ignore[arg-type]


class Photos:
    """What is registered: two photos of zoe, one of ben. Reading waits for `go_on`."""

    def __init__(self) -> None:
        self.kept = {"zoe": ["one", "two"], "ben": ["three"]}
        self.go_on, self.reading = threading.Event(), threading.Event()
        self.go_on.set()

    def exemplars_of(self, person: str, actor: str = "") -> list[Exemplar]:
        found = [exemplar(id) for id in self.kept.get(person, [])]
        self.reading.set()
        assert self.go_on.wait(10)
        return found


async def bank(relay: Relay, name: str = "ann") -> dict:
    answer = await relay.http.get(f"/api/rooms/r/{name}/bank")
    assert answer.status_code == 200
    return answer.json()


def known(relay: Relay, name: str = "ann") -> People:
    return relay.rooms.get("r").participants[name].people


async def test_each_registered_persons_photos_come_along_until_they_are_deleted() -> None:
    async with serving() as relay:
        relay.rooms._photos = Photos()
        await relay.peer().publish("/whip/r/ann?person=zoe&person=ben&person=zoe&person=nobody", MovingVideo())
        await relay.peer().publish("/whip/r/bob", MovingVideo())
        assert [people is known(relay) for people in relay.rooms.people_with("zoe")] == [True]
        body = await bank(relay)
        assert body["participant"] == "ann" and body["faces"] == []
        people = {one["name"]: one for one in body["people"]}
        assert {name: one["exemplars"] for name, one in people.items()} == {"zoe": 2, "ben": 1, "nobody": 0}
        assert all(one["state"] == "unmatched" and one["since_seconds"] is None for one in people.values())
        whose = {one["id"]: one["person"] for one in body["exemplars"]}
        assert whose == {"one": people["zoe"]["id"], "two": people["zoe"]["id"], "three": people["ben"]["id"]}
        first = body["exemplars"][0]
        assert (first["source"], first["native_px"], first["yaw"], first["sharpness"]) == ("photo", 200, 3.0, 0.5)
        assert first["age_frames"] >= 0 and first["age_seconds"] >= 0
        thumbnail = cv2.imdecode(np.frombuffer(base64.b64decode(first["thumbnail"].split(",")[1]), np.uint8), 1)
        assert thumbnail.shape == (96, 96, 3)
        assert np.abs(thumbnail[48, 48].astype(int) - (30, 30, 200)).max() < 10
        assert (await bank(relay, "bob"))["people"] == []

        relay.rooms.forget_photos(["two"])
        assert {one["id"] for one in (await bank(relay))["exemplars"]} == {"one", "three"}
        relay.rooms.forget_person("zoe")
        assert [one["id"] for one in (await bank(relay))["exemplars"]] == ["three"]
        assert relay.rooms.people_with("zoe") == []


@pytest.mark.parametrize("whole", [False, True])
async def test_what_is_deleted_while_it_is_being_read_does_not_come_along(whole: bool) -> None:
    async with serving() as relay:
        photos = relay.rooms._photos = Photos()
        photos.go_on.clear()
        publishing = asyncio.create_task(relay.peer().publish("/whip/r/ann?person=zoe", MovingVideo()))
        await until(photos.reading.is_set)
        if whole:
            relay.rooms.forget_person("zoe")
        else:
            relay.rooms.forget_photos(["one"])
        photos.go_on.set()
        await publishing
        assert [e.id for e in known(relay).exemplars()] == ([] if whole else ["two"])
        if whole:
            assert known(relay).names() == set()


async def test_a_publisher_who_comes_back_is_known_until_the_time_is_over() -> None:
    async with serving(remember_s=4) as relay:
        relay.rooms._photos = Photos()
        first = await relay.peer().publish("/whip/r/ann?person=zoe", MovingVideo())
        people = known(relay)
        unnamed = people.newcomer(people.next_sighting())
        unnamed.bank.add_photo(exemplar("of-the-call", "call"))
        await first.leave()
        assert await relay.stats() == {}
        assert (await relay.http.get("/api/rooms/r/ann/bank")).status_code == 404
        await until(lambda: relay.rooms.get("r") is None, 2, "an empty room")

        await relay.peer().publish("/whip/r/ann?person=zoe", MovingVideo())
        assert known(relay) is people
        assert {e.id for e in people.exemplars()} == {"one", "two", "of-the-call"}
        third = await relay.peer().publish("/whip/r/ann?person=ben", MovingVideo())  # while the second is there
        assert known(relay) is people
        await until(lambda: people.names() == {"ben"} and len(people.exemplars()) == 2, 10, "taking the name over")
        assert {e.id for e in people.exemplars()} == {"three", "of-the-call"}
        await until(lambda: relay.enhancers[1].closed)
        assert known(relay) is people and people.exemplars()
        await relay.peer().publish("/whip/r/bob", MovingVideo())
        assert known(relay, "bob") is not people

        await third.leave()
        await until(lambda: people.everyone() == [], 10, "forgetting")
        await relay.peer().publish("/whip/r/ann", MovingVideo())
        assert known(relay) is not people


async def test_deleting_a_person_takes_what_running_and_remembered_streams_know() -> None:
    async with serving() as relay:
        relay.rooms._photos = Photos()
        left = await relay.peer().publish("/whip/r/ann?person=zoe", MovingVideo())
        remembered = known(relay)
        unnamed = remembered.newcomer(remembered.next_sighting())
        unnamed.bank.add_photo(exemplar("of-the-call", "call"))  # who may be zoe as well
        await left.leave()
        await relay.peer().publish("/whip/r/bob?person=zoe", MovingVideo())
        await relay.peer().publish("/whip/r/eve?person=ben", MovingVideo())
        assert len(relay.rooms.people_with("zoe")) == 2
        relay.rooms.forget_photos(["one"])
        assert "one" not in {e.id for e in [*remembered.exemplars(), *known(relay, "bob").exemplars()]}
        relay.rooms.forget_person("zoe")
        assert remembered.exemplars() == known(relay, "bob").exemplars() == []
        assert [e.id for e in known(relay, "eve").exemplars()] == ["three"]
        assert relay.rooms.people_with("zoe") == []


class Asked(SlowEngine):
    """Remembers the exemplars of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.exemplars: list[set[str]] = []

    def submit(self, requests: Sequence[FaceRequest]) -> list:
        self.exemplars += [{e.id for e in request.exemplars} for request in requests]
        return super().submit(requests)


@pytest.mark.timeout(240)
async def test_after_a_reconnect_the_far_face_has_the_exemplars_of_before(tmp_path: Path) -> None:
    engine = Asked()
    async with relay_of(tmp_path, engine, deadline_ms=300, recogniser=ByColour()) as (relay, http):
        close = await Peer(http).publish("/whip/r/ann", Portrait(frames=CLOSE_FRAMES))
        people = relay.rooms.get("r").participants["ann"].people
        await until(lambda: len(people.exemplars()) >= 1, 60, "exemplars of the close face")
        await close.leave()
        before = {e.id for e in people.exemplars()}
        engine.exemplars.clear()

        far = await Peer(http).publish("/whip/r/ann", Portrait(FAR + 20, frames=20))
        await until(lambda: relay.rooms.get("r").participants["ann"].joined, 30)
        watcher = Peer(http)
        await watcher.watch("/whep/r/ann?layout=native", ("video",))
        await until(lambda: any(engine.exemplars), 60, "a face that is enhanced with exemplars")
        assert set.union(*engine.exemplars) <= before
        body = (await http.get("/api/rooms/r/ann/bank")).json()
        (here,) = [one for one in body["people"] if one["state"] == "here"]
        assert here["exemplars"] == len(before) and here["since_seconds"] > 0 and here["name"] is None
        (face,) = body["faces"]
        assert (face["person"], face["verdict"], face["reason"]) == (here["id"], "recognised", None)
        assert face["exemplars"] >= 1 and 24 <= face["side"] <= 48
        assert counts(relay, "hime_recognition_total", "outcome")["recognised"] == 1
        await watcher.close()
        await far.leave()
