"""What a comparison says of whose a face is."""

from hime_core.faces.recognition import NEVER, Limits
from hime_core.people.judgement import LIKELY, MARGIN, judge

LIMITS = Limits(same=0.6, other=0.2)
ANN, BOB, EVE = 1, 2, 3


def judged(scores, current=None, expected=(), together=(), limits=LIMITS):
    return judge(scores, limits, current, expected, lambda a, b: {a, b} <= set(together))


def test_who_is_alike_enough_is_recognised():
    assert judged({ANN: 0.61, BOB: 0.1}) == ANN
    assert judged({ANN: 0.59, BOB: 0.1}) == "unsure"
    assert judged({ANN: 0.19, BOB: 0.1}) == "stranger"


def test_nobody_left_to_be_is_a_stranger():
    assert judged({}) == "stranger"


def test_a_face_like_two_who_are_different_people_is_neithers():
    assert judged({ANN: 0.7, BOB: 0.7 - MARGIN / 2}, together=(ANN, BOB)) == "unsure"
    assert judged({ANN: 0.7, BOB: 0.7 - MARGIN / 2}) == ANN  # they may be one person who came twice
    assert judged({ANN: 0.7, BOB: 0.7 - 2 * MARGIN}, together=(ANN, BOB)) == ANN


def test_less_is_enough_for_who_was_here_a_moment_ago():
    likely = LIMITS.other + LIKELY * (LIMITS.same - LIMITS.other)
    assert judged({ANN: likely + 0.01}, expected=(ANN,)) == ANN
    assert judged({ANN: likely - 0.01}, expected=(ANN,)) == "unsure"
    assert judged({ANN: likely + 0.01, BOB: likely + 0.02}, expected=(ANN,)) == "unsure"
    assert judged({ANN: 0.1}, expected=(ANN,)) == "stranger"


def test_who_is_recognised_stays_until_the_evidence_is_against_it():
    assert judged({ANN: 0.25, BOB: 0.4}, current=ANN) == ANN
    assert judged({ANN: 0.1, BOB: 0.4}, current=ANN) == "stranger"
    assert judged({ANN: 0.1, BOB: 0.7}, current=ANN) == BOB
    assert judged({ANN: 0.3, BOB: 0.7}, current=ANN) == ANN  # as long as they may be one person
    assert judged({ANN: 0.3, BOB: 0.7}, current=ANN, together=(ANN, BOB)) == BOB


def test_where_faces_are_too_small_to_tell_nobody_is_recognised_and_nobody_denied():
    assert judged({ANN: 0.99}, limits=NEVER) == "unsure"
    assert judged({ANN: -0.9}, limits=NEVER, current=ANN) == ANN
