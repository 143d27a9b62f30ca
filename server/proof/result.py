"""What was measured of one cell, as its file in the folder holds it."""

from __future__ import annotations

from typing import TypedDict

from hime_core.evaluation.metrics import Figures


class CellName(TypedDict):
    """Which cell: the clip's name, and how it was sent. headshot: pixels, None for a clip that was sent as it is."""

    clip: str
    size: str
    headshot: int | None
    codec: str
    kbps: int


class WorseCell(CellName):
    """by: how much worse, by figure; negative."""

    by: dict[str, float]


class CallCounts(TypedDict):
    """Of one call: frames by outcome, bypasses by reason, and exemplars in the bank in the end."""

    outcomes: dict[str, int]
    bypasses: dict[str, int]
    bank: int


class Result(TypedDict):
    """kbps: what was sent from the fall on, measured_kbps: while faces were measured. moments: faces that were
    measured. headshot_px, truth_px: their median side in the frame and in the clip. figures: means, by row. truth_warp:
    the warp error of the truth itself. calls: by the number of exemplars that the relay used at most."""

    cell: CellName
    kbps: float
    measured_kbps: float
    fps: float
    moments: int
    headshot_px: float
    truth_px: float
    figures: dict[str, Figures]
    truth_warp: float | None
    calls: dict[str, CallCounts]
