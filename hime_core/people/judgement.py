"""What a comparison of a face with the people who are known says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

from hime_core.faces.recognition import Limits

MARGIN = 0.06  # of likeness between two who are known to be different people
LIKELY = 0.75  # of the way from the limit for others to the one for the same: enough for who is expected here

Judgement = int | Literal["stranger", "unsure"]


def judge(
    scores: Mapping[int, float],
    limits: Limits,
    current: int | None,
    expected: Collection[int],
    apart: Callable[[int, int], bool],
) -> Judgement:
    """Who a face is: a person's id, a stranger, or unsure.

    scores: its likeness to each person who it may be, by id. current: who it was recognised as, which holds until the
    evidence speaks against it. expected: those who were here a moment ago. apart: whether two are different people
    for sure; a face that is much like both of them is neither's.
    """
    if not scores:
        return "stranger"
    best = max(scores, key=scores.__getitem__)
    rival = max((score for id, score in scores.items() if id != best and apart(id, best)), default=-1.0)
    clear = scores[best] - rival >= MARGIN
    surely = scores[best] >= limits.same and clear
    if current is not None and current in scores:
        if best != current and surely and apart(best, current):
            return best
        if scores[current] >= limits.other:
            return current
        return best if surely else "stranger"
    if surely:
        return best
    if best in expected and clear and scores[best] >= limits.other + LIKELY * (limits.same - limits.other):
        return best
    return "stranger" if scores[best] < limits.other else "unsure"
