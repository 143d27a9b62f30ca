"""Bjøntegaard's delta rate where it is known beforehand."""

import math

import numpy as np
import pytest

from hime_core.evaluation.bjontegaard import delta_rate

RATES = (20, 40, 80, 160, 320)


def logarithmic(rates, offset=0.0, slope=6.0):
    """Quality that grows by `slope` with each doubling of the rate."""
    return [(rate, offset + slope * math.log2(rate)) for rate in rates]


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0, 3.0])
def test_the_same_curve_at_another_rate_needs_that_share(share):
    other = [(share * rate, quality) for rate, quality in logarithmic(RATES)]
    found = delta_rate(logarithmic(RATES), other)
    assert found.relation == "overlap"
    assert found.share == pytest.approx(share, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((6 * math.log2(20), 6 * math.log2(320)))


def test_curves_that_cross_are_averaged_over_what_both_reach():
    """log2 rate = q / 6 and q / 3: over q from 30 to 36 the mean of the difference is 33 / 6, by hand."""
    anchor = [(2 ** (q / 6), q) for q in (18, 24, 30, 36)]
    other = [(2 ** (q / 3), q) for q in (30, 33, 36, 39)]
    found = delta_rate(anchor, other)
    assert (found.low, found.high) == (30, 36)
    assert math.log2(found.share) == pytest.approx(33 / 6)


def test_the_order_of_the_points_does_not_count():
    anchor, other = logarithmic(RATES), logarithmic((10, 30, 90, 270), 2.0)
    assert delta_rate(anchor[::-1], other[::-1]) == delta_rate(anchor, other)


def test_where_curves_do_not_overlap_nothing_is_extrapolated():
    better = delta_rate(logarithmic(RATES), logarithmic(RATES, 100.0))
    assert (better.share, better.low, better.relation) == (None, None, "above")
    assert better.bound == 20 / 320
    worse = delta_rate(logarithmic(RATES), logarithmic(RATES, -100.0))
    assert (worse.share, worse.relation, worse.bound) == (None, "below", 320 / 20)


def test_noise_that_makes_a_curve_fall_is_pooled():
    noisy = [(20, 30.0), (40, 34.2), (80, 33.8), (160, 36.0)]
    even = [(20, 30.0), (math.sqrt(40 * 80), 34.0), (160, 36.0)]
    anchor = logarithmic(RATES, 4.0)
    assert delta_rate(anchor, noisy).share == pytest.approx(delta_rate(anchor, even).share)


def test_a_curve_that_only_falls_has_no_delta_rate():
    falling = [(rate, 60 - quality) for rate, quality in logarithmic(RATES)]
    found = delta_rate(logarithmic(RATES), falling)
    assert (found.share, found.relation) == (None, "flat")


@pytest.mark.parametrize("curve", [[], [(20, 30.0)], [(0, 30.0), (20, 31.0)]])
def test_a_curve_needs_two_points_with_a_rate(curve):
    with pytest.raises(ValueError, match="at least two"):
        delta_rate(logarithmic(RATES), curve)


def test_it_is_the_ratio_in_the_middle_for_parallel_curves_of_any_shape():
    qualities = np.array([30.0, 31, 33, 34, 34.5])
    anchor = list(zip(RATES, qualities, strict=True))
    other = [(0.25 * rate, quality) for rate, quality in anchor]
    assert delta_rate(anchor, other).share == pytest.approx(0.25)
