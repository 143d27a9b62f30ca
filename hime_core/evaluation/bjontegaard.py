"""Bjøntegaard's delta rate: how much less bitrate one way of coding needs than another for the same quality.

Bjøntegaard, VCEG-M33 (2001), with piecewise cubic interpolation that does not overshoot (PCHIP), as JVET's common test
conditions have it, in the place of one cubic through all points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Relation = Literal["overlap", "above", "below", "flat"]
Curve = Sequence[tuple[float, float]]  # (rate, quality), rates above 0


@dataclass(frozen=True)
class DeltaRate:
    """share: the rate that is needed over the anchor's, 1 for the same; None where the curves have no quality in
    common. low, high: the range of quality that it is a mean over.

    relation: "overlap"; "above" and "below" where every point of the one curve is better or worse than every point of
    the anchor's; "flat" where a curve does not get better with the rate, or nothing in common is left once it was made
    to. rates: the lowest and the highest of the curve and of the anchor.
    """

    share: float | None
    relation: Relation
    low: float | None
    high: float | None
    rates: tuple[float, float]
    anchor_rates: tuple[float, float]

    @property
    def bound(self) -> float | None:
        """What `share` must be below ("above") or over ("below") where the curves do not meet: nothing is
        extrapolated."""
        if self.relation == "above":
            return self.rates[0] / self.anchor_rates[1]
        if self.relation == "below":
            return self.rates[1] / self.anchor_rates[0]
        return None


def delta_rate(anchor: Curve, other: Curve) -> DeltaRate:
    """The rate of `other` for the quality of `anchor`: the geometric mean, over the quality that both reach, of the
    ratio of their rates.

    Quality is better when it is higher. Where a measured curve falls with the rate, the neighbours that contradict each
    other are pooled into their mean. Raises ValueError for a curve of fewer than two points or a rate of 0.
    """
    curves = [sorted(curve) for curve in (anchor, other)]
    for curve in curves:
        if len(curve) < 2 or curve[0][0] <= 0:
            raise ValueError(f"a curve of {len(curve)} points; at least two with rates above 0 are needed")
    anchor_rates, rates = ((curve[0][0], curve[-1][0]) for curve in curves)
    (anchor_low, anchor_high), (other_low, other_high) = ((min(q), max(q)) for q in ([q for _, q in c] for c in curves))
    if other_low > anchor_high:
        return DeltaRate(None, "above", None, None, rates, anchor_rates)
    if other_high < anchor_low:
        return DeltaRate(None, "below", None, None, rates, anchor_rates)
    rising = [_rising(curve) for curve in curves]
    if any(len(curve) < 2 for curve in rising):
        return DeltaRate(None, "flat", None, None, rates, anchor_rates)
    low = max(curve[0][1] for curve in rising)
    high = min(curve[-1][1] for curve in rising)
    if high <= low:
        return DeltaRate(None, "flat", None, None, rates, anchor_rates)
    first, second = (_mean_log_rate(curve, low, high) for curve in rising)
    return DeltaRate(math.exp(second - first), "overlap", low, high, rates, anchor_rates)


def _rising(curve: Curve) -> list[tuple[float, float]]:
    """(log rate, quality), both strictly rising: pool adjacent violators, each pool its mean."""
    pools: list[list[tuple[float, float]]] = []
    for rate, quality in curve:
        pools.append([(math.log(rate), quality)])
        while len(pools) > 1 and _mean(pools[-2])[1] >= _mean(pools[-1])[1]:
            pools[-2:] = [pools[-2] + pools[-1]]
    return [_mean(pool) for pool in pools]


def _mean(pool: list[tuple[float, float]]) -> tuple[float, float]:
    rate, quality = np.mean(pool, axis=0)
    return float(rate), float(quality)


def _mean_log_rate(curve: list[tuple[float, float]], low: float, high: float) -> float:
    """Of the natural logarithm of the rate, over the quality from low to high."""
    from scipy.interpolate import PchipInterpolator  # of the extra `evaluation`

    rates, qualities = zip(*curve, strict=True)
    return float(PchipInterpolator(qualities, rates).integrate(low, high)) / (high - low)
