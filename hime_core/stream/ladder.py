"""The ladder that all streams of a machine step down together where it is short: what is left out, step by step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """What a stream still gets.

    cost: processor time, as a share of what it takes on the first rung; demand: the level of demand
    (`stream/demand.py`) that is not exceeded; every: frames between two requests at least; enhances:
    whether the engine is asked at all, and views that follow faces follow them in every frame; enlarges: whether views
    are enlarged here, or else by who shows them, and faces are looked for where no view follows them.
    """

    name: str
    cost: float
    demand: str = ""
    every: int = 1
    enhances: bool = True
    enlarges: bool = True


# In the order of what a viewer loses for the processor's time that it saves, which
# `python -m benchmarks.calls.cpu_per_call --rungs` measures. From `passed` on no face is enhanced.
LADDER = (
    Rung("whole", 1.0),
    Rung("references_1", 0.76, "references_1"),
    Rung("half_rate", 0.58, "half_rate"),
    Rung("quarter_rate", 0.5, "half_rate", every=4),
    Rung("passed", 0.27, enhances=False),
    Rung("plain", 0.1, enhances=False, enlarges=False),
)
RUNGS = tuple(rung.name for rung in LADDER)
WHOLE = LADDER[0]
