"""Exemplars stay with the person: when people leave, return, swap places, and sit down in each other's chairs."""

import gc
from concurrent.futures import Future

import cv2
import numpy as np
import pytest

from hime_core.exemplars.exemplar import cut_exemplar
from hime_core.faces.geometry import Box
from hime_core.faces.recognition import Limits
from hime_core.people.looks import Look
from hime_core.people.people import MOST, People
from hime_core.stream.enhancer import Enhancer
from hime_core.video.coding import Coding
from tests.unit.enhancer_stage import (
    ANN,
    BOB,
    CLOSE,
    FACE,
    LANDMARKS,
    PORTRAIT,
    ByColour,
    Engine,
    enhancer_of,
    step,
)

BACK = (0.25, 300, 150)  # a headshot of 50 px


def is_bob(rgb: np.ndarray) -> bool:
    third = rgb.shape[0] // 3
    red, _, blue = rgb[third:-third, third:-third].reshape(-1, 3).mean(0)
    return bool(blue > red)


def own_only(engine: Engine) -> bool:
    """Whether no face was ever asked for with another's exemplars."""
    return all(
        is_bob(request.lr) == is_bob(exemplar.image) for request, _ in engine.asked for exemplar in request.exemplars
    )


def frames(enhancer, scene, clock, count: int, *faces) -> list:
    scene.faces = list(faces)
    return [step(enhancer, scene, clock) for _ in range(count)]


def used(engine: Engine) -> set[str]:
    return {exemplar.id for request, _ in engine.asked for exemplar in request.exemplars}


def photo_of(who: str, id: str = "photo"):
    rgb = np.ascontiguousarray(PORTRAIT[..., ::-1] if who == BOB else PORTRAIT)
    box = Box(FACE.x - 60, FACE.y, FACE.width, FACE.height)
    return cut_exemplar(rgb, box, LANDMARKS - (60, 0), id, "photo", 0, 0.0)


def test_one_who_leaves_and_returns_far_has_the_exemplars_of_before_within_a_second(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 20, CLOSE)
    before = {e.id for e in enhancer.people.exemplars()}
    frames(enhancer, scene, clock, 100)  # five seconds
    frames(enhancer, scene, clock, 20, BACK)
    assert used(engine) and used(engine) <= before
    (person,) = [one for one in enhancer.people.everyone() if not one.bank.empty]
    assert person.sighting is not None


def test_nobody_is_embedded_while_there_is_nobody_to_mistake_them_for(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 60, CLOSE)
    assert enhancer._sightings._recogniser.calls == []


def test_faces_are_looked_at_now_and_then_only(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 20, CLOSE)
    frames(enhancer, scene, clock, 40)
    frames(enhancer, scene, clock, 120, BACK)
    assert sum(enhancer._sightings._recogniser.calls) < 12


def test_a_second_person_in_the_chair_of_the_first_gets_nothing_of_theirs(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 30, CLOSE)
    frames(enhancer, scene, clock, 12)
    frames(enhancer, scene, clock, 60, (*BACK, BOB))
    assert used(engine) == set()
    frames(enhancer, scene, clock, 20, (*CLOSE, BOB))
    frames(enhancer, scene, clock, 20, (*BACK, BOB))
    assert used(engine) and own_only(engine)


def test_one_who_takes_anothers_place_between_two_frames_gets_nothing_of_theirs(scene, clock, engine):
    """A cut, or a frozen uplink: where the last face was, there is another one."""
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 30, CLOSE)
    frames(enhancer, scene, clock, 30, (0.28, 255, 90))
    assert used(engine)
    frames(enhancer, scene, clock, 60, (0.25, 400, 90, BOB))
    assert own_only(engine)


def test_two_who_swap_places_keep_their_own(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    left, right = (0.62, 20, 40), (0.62, 380, 40)
    frames(enhancer, scene, clock, 60, left, (*right, BOB))
    assert {is_bob(e.image) for e in enhancer.people.exemplars()} == {True, False}
    for share in np.linspace(0, 1, 50):  # walk through each other, one before the other, and away from the camera
        scale = 0.62 - 0.3 * share
        ann, bob = (scale, 20 + 400 * share, 40 + 60 * share), (scale, 420 - 400 * share, 40 + 60 * share, BOB)
        frames(enhancer, scene, clock, 1, bob, ann)
    frames(enhancer, scene, clock, 40, bob, ann)
    assert own_only(engine)
    with_exemplars = [request for request, _ in engine.asked[-8:] if request.exemplars]
    assert {is_bob(request.lr) for request in with_exemplars} == {True, False}


def test_a_reconnect_finds_the_exemplars_of_before(scene, clock, engine):
    first = enhancer_of(engine, scene, clock)
    frames(first, scene, clock, 30, CLOSE)
    first.close()
    clock.now += 30
    again = enhancer_of(engine, scene, clock, people=first.people)
    result = frames(again, scene, clock, 1, BACK)[0]
    assert result.outcome == "enhanced" and used(engine)


@pytest.mark.parametrize("who", [ANN, BOB])
def test_a_photo_goes_to_the_person_it_shows(scene, clock, engine, who):
    enhancer = enhancer_of(engine, scene, clock)
    enhancer.people.expect("bob").bank.add_photo(photo_of(BOB))
    frames(enhancer, scene, clock, 60, (*BACK, who))
    assert used(engine) == ({"photo"} if who == BOB else set())
    (bob,) = [one for one in enhancer.people.everyone() if one.name == "bob"]
    assert (bob.since is None) == (who == ANN)


def test_photos_of_two_go_to_the_faces_that_match(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    for name in (ANN, BOB):
        enhancer.people.expect(name).bank.add_photo(photo_of(name, name))
    frames(enhancer, scene, clock, 30, BACK, (0.25, 60, 150, BOB))
    assert used(engine) == {ANN, BOB} and own_only(engine)


def test_a_tiny_face_is_nobodys(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 30, CLOSE)
    frames(enhancer, scene, clock, 60)
    result = frames(enhancer, scene, clock, 30, (0.1, 300, 150))[-1]
    assert result.outcome == "enhanced" and used(engine) == set()


def test_a_mistake_heals(scene, clock, engine):
    """Taken for Ann while nothing could be told; when Bob comes close, all is as if it had not been."""

    class Gullible(ByColour):
        gullible = True

        def embed(self, faces):
            found = super().embed(faces)
            return np.tile(np.float32([1, 0]), (len(faces), 1)) if self.gullible else found

    recogniser = Gullible()
    people = People(engine.forget, clock)
    enhancer = Enhancer(
        engine, scene, people, enhancer_of(engine, scene, clock)._config, clock=clock, recogniser=recogniser
    )
    frames(enhancer, scene, clock, 40, CLOSE)
    frames(enhancer, scene, clock, 40)
    frames(enhancer, scene, clock, 20, (*BACK, BOB))
    assert not own_only(engine)
    engine.asked.clear()
    recogniser.gullible = False
    enhancer._sightings._comparison._known.clear()
    for scale in np.linspace(0.25, 0.6, 60):  # comes closer
        frames(enhancer, scene, clock, 1, (scale, 342 - 170 * scale, 180 - 120 * scale, BOB))
        print([(x.id, x.looks, x.side, x.scores, x.verdict) for x in enhancer._sightings._tracks.values()])
    counts = enhancer._sightings.counts
    assert counts["recognised"] == 1 and counts["corrected"] == 1
    engine.asked.clear()
    late = frames(enhancer, scene, clock, 40, (*BACK, BOB))
    assert own_only(engine) and used(engine)
    assert late[-1].outcome == "enhanced"
    banks = [one.bank.exemplars() for one in people.everyone() if not one.bank.empty]
    assert len(banks) == 2
    assert all(len({is_bob(e.image) for e in exemplars}) == 1 for exemplars in banks)


def test_carried_detail_goes_with_the_mistake(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 30, CLOSE)
    frames(enhancer, scene, clock, 40)
    shown = frames(enhancer, scene, clock, 20, BACK)[-1]
    before = next(iter(enhancer._sightings._tracks.values()))
    assert enhancer._steady._memory[before.id].detail is not None
    enhancer._sightings._correct(before, None)
    recogniser = enhancer._sightings._recogniser
    recogniser.limits = lambda side: Limits(2.0, -2.0)
    after = frames(enhancer, scene, clock, 1, BACK)[-1]
    assert shown.patches and after.patches == ()
    assert before.id not in enhancer._steady._memory


def test_memory_is_flat_over_a_hundred_arrivals_and_leavings(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    enhancer._sightings._recogniser.limits = lambda side: Limits(2.0, -2.0)  # each is somebody new
    sizes = []
    for number in range(100):
        frames(enhancer, scene, clock, 24, (0.6, 20 + 3 * number, 20))
        frames(enhancer, scene, clock, 20)
        sizes.append(len(enhancer.people.everyone()))
    gc.collect()
    assert max(sizes) <= MOST
    assert len(enhancer.people.exemplars()) <= 2 * MOST
    assert len(enhancer._sightings._comparison._known) <= len(enhancer.people.exemplars())
    assert len(engine.forgotten) >= 90
    assert len(enhancer.people._apart) == 0 and enhancer._sightings._tracks == {}


def test_who_is_forgotten_is_not_known_again(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    enhancer.people.expect("bob").bank.add_photo(photo_of(BOB))
    frames(enhancer, scene, clock, 30, (*CLOSE, BOB))
    ids = {e.id for e in enhancer.people.exemplars()}
    assert "photo" in ids and len(ids) > 1
    enhancer.people.forget_name("bob")
    assert enhancer.people.exemplars() == [] and ids <= engine.forgotten
    frames(enhancer, scene, clock, 20, (*BACK, BOB))
    assert not used(engine) & ids


def test_a_look_at_who_was_corrected_meanwhile_counts_no_more(scene, clock, engine):
    """Two faces in one batch of looks: the surer one takes the person over from the other, whose own look is of no more
    use; nobody stays in view who is not."""
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 30, CLOSE)
    frames(enhancer, scene, clock, 40)
    frames(enhancer, scene, clock, 20, BACK, (0.25, 60, 150, BOB))
    sightings = enhancer._sightings
    holder, other = sorted(sightings._tracks.values(), key=lambda one: one.verdict != "recognised")
    ann, carl = holder.person, enhancer.people.expect("carl")
    carl.bank.add_photo(photo_of(ANN))
    assert holder.verdict == "recognised"
    holder.scores = {ann.id: 0.5}
    total = np.float32([1, 0])
    done = Future()
    done.set_result(
        [Look(other.id, 60.0, total, {ann.id: 0.99}), Look(holder.id, 60.0, total, {ann.id: 0.95, carl.id: 0.93})]
    )
    sightings._learn(done)
    assert carl.sighting is None
    assert ann.sighting in {one.id for one in sightings._tracks.values()}
    sightings.close()
    assert all(one.sighting is None for one in enhancer.people.everyone())


def test_a_recogniser_that_fails_leaves_the_call_as_it_is(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)

    def embed(faces):
        raise RuntimeError("on purpose")

    frames(enhancer, scene, clock, 20, CLOSE)
    enhancer._sightings._recogniser.embed = embed
    frames(enhancer, scene, clock, 40)
    result = frames(enhancer, scene, clock, 20, (0.2, 300, 150))[-1]
    assert result.outcome == "enhanced" and used(engine) == set()
    assert enhancer._sightings.counts["error"] >= 1


def test_without_a_recogniser_exemplars_last_as_long_as_a_track(scene, clock, engine):
    enhancer = Enhancer(
        engine, scene, People(engine.forget, clock), enhancer_of(engine, scene, clock)._config, clock=clock
    )
    enhancer.people.expect("ann").bank.add_photo(photo_of(ANN))
    frames(enhancer, scene, clock, 30, CLOSE)
    frames(enhancer, scene, clock, 40)
    frames(enhancer, scene, clock, 20, BACK)
    assert used(engine) == set()


def test_coding_is_of_no_matter_to_who_it_is(scene, clock, engine):
    enhancer = enhancer_of(engine, scene, clock)
    frames(enhancer, scene, clock, 20, CLOSE)
    frames(enhancer, scene, clock, 40)
    scene.faces = [(0.25, 300, 150, BOB)]
    for _ in range(20):
        clock.now += 0.05
        coding = Coding(60.0, bytes=1000, macroblocks=920, keyframe=False)
        enhancer.finish(enhancer.begin(scene.frame(), clock.now, coding=coding))
    assert own_only(engine)


def test_the_stage_tells_its_two_people_apart():
    ann, bob = PORTRAIT[..., :], PORTRAIT[..., ::-1]
    assert [is_bob(cv2.resize(np.ascontiguousarray(p), (64, 64))) for p in (ann, bob)] == [False, True]
