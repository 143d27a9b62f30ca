"""When a face is enhanced: by its size, by what the codec took, against exemplars that have lost less."""

from dataclasses import replace

import numpy as np
import pytest

from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import LR_SIDES, Headshot
from hime_core.stream.gate import OPENS, TRACES, Gate, Verdict, lr_side

IMAGE, POINTS = np.zeros((8, 8, 3), np.uint8), np.zeros((5, 2), np.float32)
SHARP = Exemplar("a", IMAGE, Headshot(4, 4, 200), POINTS, 1.0, 0.0, 0.5, "call", 1, 0.0, resolved=200.0, step=8.0)


def settled(side, step, exemplars=(SHARP,), known=True, frames=60, gate=None, enlarged=1.0):
    gate = gate or Gate()
    for _ in range(frames):
        verdict = gate.judge(1, side, exemplars, known, step, enlarged)
    return verdict


def test_small_faces_are_enhanced_whatever_the_codec_did():
    for side in (32, 48, 80):
        assert settled(side, 4.0) == settled(side, None)
        assert settled(side, 4.0).side == side and settled(side, 4.0).strength == 1.0


def test_large_clear_faces_are_left_alone():
    for side in (128, 176, 264, 400):
        assert settled(side, 9.0).side is None and settled(side, 9.0).reason == "close"
        assert settled(side, None).reason == "close"


@pytest.mark.parametrize("side", [128, 176, 264, 400])
def test_large_faces_that_were_coded_coarsely_are_enhanced(side):
    verdict = settled(side, 92.0)
    assert verdict.side in LR_SIDES and verdict.strength > 0.9


def test_strength_grows_with_the_step_and_sooner_for_smaller_faces():
    strengths = [settled(160, step).strength for step in (12, 20, 25, 30, 40)]
    assert strengths == sorted(strengths) and strengths[0] == 0 and strengths[-1] == 1
    assert settled(112, 20.0).strength > settled(160, 20.0).strength


def test_exemplars_of_more_pixels_pay_where_the_view_shows_them():
    large = replace(SHARP, headshot=Headshot(4, 4, 300.0))
    assert settled(160, 8.0, (large,), enlarged=2.0) == Verdict(96, 1.0)
    assert settled(160, 8.0, (large,), enlarged=1.0).reason == "close"  # nobody would see them
    assert settled(160, 8.0, (SHARP,), enlarged=2.0).reason == "close"
    coarse = replace(large, step=60.0)
    assert settled(160, 8.0, (coarse,), enlarged=2.0).reason == "close"  # they are not worth their pixels
    assert settled(160, None, (replace(large, step=None),), enlarged=2.0).strength == 1.0  # photos


def test_exemplars_as_coarse_as_the_face_give_nothing():
    assert settled(160, 92.0, (replace(SHARP, step=90.0),)).reason == "close"
    assert settled(160, 92.0, (replace(SHARP, step=None),)).strength == 1.0  # a photo


def test_without_exemplars_only_far_faces_are_enhanced():
    assert settled(48, 92.0, (), known=False).side == 48
    assert settled(64, 92.0, (), known=False).reason == "no_exemplar"
    assert settled(160, 92.0, (), known=True).reason == "close"  # there are some, but none better than the face


def test_the_gate_has_hysteresis():
    gate = Gate()
    barely = next(step for step in np.arange(18, 38, 0.25) if settled(160, step).side is not None)
    below = barely - 1.0
    assert settled(160, below).side is None
    assert settled(160, 92.0, gate=gate).side is not None
    verdict = settled(160, below, gate=gate)
    assert verdict.side is not None and 0 < verdict.strength < OPENS  # stays open, and shows as much as it is worth
    assert settled(160, 12.0, gate=gate).side is None
    assert settled(160, below, gate=gate).side is None  # and stays shut


def test_one_odd_frame_changes_little():
    gate = Gate()
    settled(160, 8.0, gate=gate)
    assert gate.judge(1, 160, (SHARP,), True, 60.0).side is None


def test_traces_in_the_picture_count_where_the_bitstream_says_less():
    gate = Gate()
    for frame in range(0, 100, 5):
        assert gate.measures(1, frame)
        gate.measured(1, frame, 150.0, traces=30.0)
        assert not gate.measures(1, frame + 1)
    assert gate.step(1, 4.0) == pytest.approx(TRACES * 30.0)
    assert gate.step(1, 90.0) == 90.0
    assert settled(160, 4.0, gate=gate).strength == 1.0


def test_an_exemplar_must_show_about_as_much_as_the_face():
    gate = Gate()
    gate.measured(1, 0, 100.0)
    assert 80 < gate.least(1) < 100


def test_tracks_that_are_gone_are_forgotten():
    gate = Gate()
    settled(160, 92.0, gate=gate)
    gate.keep([2])
    assert gate.judge(1, 160, (SHARP,), True, 8.0).side is None


def test_lr_sides_grow_with_the_square_and_are_smaller_where_little_is_left():
    assert [lr_side(side, heavy) for side in (16, 48, 96) for heavy in (False, True)] == [16, 16, 48, 48, 96, 96]
    assert [lr_side(side, True) for side in (100, 144, 176, 220, 264, 400)] == [64, 64, 64, 80, 96, 96]
    assert {lr_side(side, False) for side in (100, 176, 400)} == {96}
    assert settled(176, 92.0).side == 64 and settled(176, 30.0).side == 96
