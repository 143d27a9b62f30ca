import pytest

from hime_core.pace import Pace


def answered(pace: Pace, seconds: float, pixels: int, references: int) -> None:
    pace.learn(0.0, 0.0, seconds, [(pixels, references)])


def test_without_an_answer_all_are_wanted():
    assert Pace(0.1, 3).references(32 * 32) == 3


def test_files_are_not_hurried():
    pace = Pace(None, 3)
    answered(pace, 60, 32 * 32, 3)
    assert pace.references(96 * 96) == 3


def test_large_faces_get_fewer_references_and_small_ones_more_again():
    pace = Pace(0.12, 3)
    answered(pace, 0.045, 32 * 32, 3)  # as on one CPU core
    assert pace.references(32 * 32) == 3
    assert pace.references(48 * 48) == 2
    assert pace.references(96 * 96) == 1
    assert pace.references(32 * 32) == 3


def test_a_slow_engine_is_asked_for_less_until_it_is_fast_again():
    pace = Pace(0.12, 3)
    for _ in range(10):
        answered(pace, 0.2, 32 * 32, 1)
    assert pace.references(32 * 32) == 1
    assert pace.turnaround == 0.2
    for _ in range(30):
        answered(pace, 0.01, 32 * 32, 1)
    assert pace.references(32 * 32) == 3


def test_the_number_rests_between_the_bounds():
    """Expected to take 60 % of the patience with two: neither fewer nor more."""
    pace = Pace(0.1, 3)
    answered(pace, 0.06, 1000, 2)
    assert pace.references(1000) == 2 or pace.references(1000) == 3
    pace._references = 2
    assert pace.references(1000) == 2


@pytest.mark.parametrize("faces", [1, 2, 4])
def test_several_faces_share_the_time(faces):
    pace = Pace(0.12, 3)
    answered(pace, 0.04, 32 * 32, 3)
    assert pace.references(32 * 32 * faces) == {1: 3, 2: 3, 4: 1}[faces]
