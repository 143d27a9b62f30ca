"""What is told of the people in a stream, and what is kept of them when names come and go."""

import pytest

from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from server.rooms.bank import bank_of
from tests.unit.enhancer_stage import ANN, BOB, CLOSE, ByColour
from tests.unit.test_people import BACK, frames, photo_of


@pytest.fixture
def outcomes():
    return []


@pytest.fixture
def enhancer(engine, scene, clock, outcomes):
    people = People(engine.forget, clock)
    config = EnhancerConfig(patience=None)
    return Enhancer(
        engine, scene, people, config, clock, recogniser=ByColour(), on_recognition=outcomes.append
    )  # fmt: skip


def told(enhancer, clock, frame=100, began=0.0):
    return bank_of("room-name", enhancer.people, enhancer.seen, frame, began, clock.now)


def test_who_is_here_who_is_away_and_whose_photos_match_nobody(enhancer, scene, clock, outcomes):
    for name in (ANN, "zoe"):
        enhancer.people.expect(name).bank.add_photo(photo_of(ANN if name == ANN else BOB, name))
    before = told(enhancer, clock)
    assert [(one.name, one.state, one.since_seconds) for one in before.people] == [
        (ANN, "unmatched", None),
        ("zoe", "unmatched", None),
    ]
    frames(enhancer, scene, clock, 30, BACK)
    bank = told(enhancer, clock)
    people = {one.name: one for one in bank.people}
    assert people[ANN].state == "here" and people["zoe"].state == "unmatched"
    assert 0 < people[ANN].since_seconds < 1.6 and people[ANN].seen_seconds_ago == 0
    assert people["zoe"].exemplars == 1 and people["zoe"].seen_seconds_ago is None
    (face,) = bank.faces
    assert (face.person, face.verdict, face.exemplars, face.reason) == (people[ANN].id, "recognised", 1, None)
    assert {(one.id, one.person) for one in bank.exemplars} == {(ANN, people[ANN].id), ("zoe", people["zoe"].id)}
    assert outcomes == ["recognised"]

    frames(enhancer, scene, clock, 60)
    bank = told(enhancer, clock)
    (ann,) = [one for one in bank.people if one.name == ANN]
    assert ann.state == "away" and ann.seen_seconds_ago > 1 and bank.faces == []


def test_a_face_that_is_not_enhanced_tells_why(enhancer, scene, clock):
    frames(enhancer, scene, clock, 20, CLOSE)
    (face,) = told(enhancer, clock).faces
    assert face.exemplars == 0 and face.reason in ("close", "too_large")


def test_ages_are_in_frames_of_this_stream(enhancer, scene, clock):
    frames(enhancer, scene, clock, 20, CLOSE)
    enhancer.people.expect("zoe").bank.add_photo(photo_of(BOB, "zoe"))
    now = told(enhancer, clock, frame=20)
    assert sorted(one.age_frames for one in now.exemplars) == [19, 20]
    again = told(enhancer, clock, frame=7, began=clock.now)  # a stream that began since
    assert [one.age_frames for one in again.exemplars] == [7, 7]


def test_only_who_is_asked_for_keeps_name_and_photos(enhancer, scene, clock, engine):
    people = enhancer.people
    for name in (ANN, "zoe"):
        people.expect(name).bank.add_photo(photo_of(ANN if name == ANN else BOB, name))
    frames(enhancer, scene, clock, 30, (0.6, 150, 20))
    (ann,) = [one for one in people.everyone() if one.name == ANN]
    of_the_call = {e.id for e in ann.bank.exemplars()} - {ANN}
    assert of_the_call
    people.expect_only(["ben"])
    assert people.names() == {"ben"}
    assert {e.id for e in people.exemplars()} == of_the_call and engine.forgotten >= {ANN, "zoe"}
    assert ann in people.everyone() and ann.name is None
    people.expect_only(["ben"])
    assert people.names() == {"ben"} and ann in people.everyone()


def test_what_is_learnt_of_one_who_has_just_been_forgotten_goes_too(enhancer, scene, clock, engine):
    people = enhancer.people
    person = people.newcomer(people.next_sighting())
    people.forget(None)
    person.bank.add_photo(photo_of(ANN, "late"))
    people.away(person, person.sighting)
    assert person.bank.exemplars() == [] and "late" in engine.forgotten


def test_a_face_that_could_be_enhanced_but_that_nobody_watches_says_so(enhancer, scene, clock):
    scene.faces = [BACK]
    for _ in range(4):
        clock.now += 0.05
        enhancer.finish(enhancer.begin(scene.frame(), clock.now, watched=False))
    assert [face.reason for face in told(enhancer, clock).faces] == ["no_exemplar"]
    enhancer.people.expect(ANN).bank.add_photo(photo_of(ANN, ANN))
    for _ in range(60):
        clock.now += 0.05
        enhancer.finish(enhancer.begin(scene.frame(), clock.now, watched=False))
    (face,) = told(enhancer, clock).faces
    assert (face.exemplars, face.reason) == (1, "unwatched")
