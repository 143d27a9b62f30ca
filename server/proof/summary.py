"""From cells to curves, delta rates and the cells that came out worse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hime_core.evaluation.bjontegaard import DeltaRate, delta_rate
from hime_core.evaluation.metrics import Figures
from hime_core.evaluation.store import Record
from server.proof.measure import METRICS, PLAIN
from server.proof.result import Result, WorseCell

HIGHER_IS_BETTER = {"psnr": True, "psnr_inner": True, "ssim": True, "lpips": False, "identity": True, "warp": False}
DELTA_METRICS = ("lpips", "identity", "psnr")
SLACK = {"psnr": 0.1, "lpips": 0.005, "identity": 0.005}  # worse than plain by more than that is worse


@dataclass(frozen=True)
class Point:
    """Means over the clips at one nominal bitrate. kbps: what was really sent."""

    nominal: int
    kbps: float
    figures: dict[str, Figures]  # by row
    outcomes: dict[str, dict[str, int]]  # sums, by number of exemplars
    bank: dict[str, float]  # exemplars in it in the end, means


@dataclass(frozen=True)
class Curves:
    """One setting's curves. clips: those that were measured at every bitrate, over which the means are taken; headshot:
    pixels in the frame, None for clips that were sent as they are."""

    size: str
    headshot: int | None
    codec: str
    clips: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        face = f"headshot {self.headshot} px" if self.headshot else "near and far, as filmed"
        return f"{self.size}, {face}, {self.codec}"

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.size}-{self.headshot or 'own'}-{self.codec}"

    @property
    def rows(self) -> list[str]:
        return list(self.points[0].figures)

    def curve(self, row: str, metric: str) -> list[tuple[float, float]]:
        """(kbit/s, figure); empty where the metric was not measured."""
        found = [(point.kbps, point.figures[row][metric]) for point in self.points]
        return [(kbps, value) for kbps, value in found if value is not None]


def gather(results: Iterable[Result]) -> list[Curves]:
    """results: of cells, as `Bench.measure` returns them. Settings of which no clip is whole are left out."""
    settings: dict[tuple[str, int | None, str], dict[str, dict[int, Result]]] = {}
    for result in results:
        cell = result["cell"]
        clips = settings.setdefault((cell["size"], cell["headshot"], cell["codec"]), {})
        clips.setdefault(cell["clip"], {})[cell["kbps"]] = result
    found = []
    for (size, headshot, codec), clips in settings.items():
        rates = sorted({kbps for cells in clips.values() for kbps in cells})
        whole = {clip: cells for clip, cells in clips.items() if len(cells) == len(rates)}
        if whole:
            points = tuple(_point(kbps, [cells[kbps] for cells in whole.values()]) for kbps in rates)
            found.append(Curves(size, headshot, codec, tuple(whole), points))
    return sorted(found, key=lambda curves: (curves.headshot is None, curves.size, curves.headshot or 0, curves.codec))


def _point(nominal: int, results: Sequence[Result]) -> Point:
    figures = {
        row: {metric: _mean([result["figures"][row][metric] for result in results]) for metric in METRICS}
        for row in results[0]["figures"]
    }
    outcomes: dict[str, dict[str, int]] = {}
    for result in results:
        for count, one in result["calls"].items():
            sums = outcomes.setdefault(count, dict.fromkeys(one["outcomes"], 0))
            for name, frames in one["outcomes"].items():
                sums[name] += frames
    bank = {count: float(np.mean([result["calls"][count]["bank"] for result in results])) for count in outcomes}
    return Point(nominal, float(np.mean([result["kbps"] for result in results])), figures, outcomes, bank)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def delta_rates(curves: Curves) -> dict[str, dict[str, DeltaRate]]:
    """By row and metric: the uplink that each row needs for what the plain view has."""
    found: dict[str, dict[str, DeltaRate]] = {}
    for row in curves.rows:
        for metric in DELTA_METRICS:
            plain, other = (_rising(curves.curve(name, metric), metric) for name in (PLAIN, row))
            if row != PLAIN and min(len(plain), len(other)) >= 2:
                found.setdefault(row, {})[metric] = delta_rate(plain, other)
    return found


def _rising(curve: list[tuple[float, float]], metric: str) -> list[tuple[float, float]]:
    """Higher is better."""
    return curve if HIGHER_IS_BETTER[metric] else [(kbps, -value) for kbps, value in curve]


def quality(metric: str, value: float) -> float:
    """A delta rate's range of quality, back in the metric's own terms."""
    return value if HIGHER_IS_BETTER[metric] else -value


def best_row(results: Sequence[Result]) -> str:
    """The row with the most exemplars."""
    return max(row for row in results[0]["figures"] if row.endswith(("exemplar", "exemplars")))


def worse_cells(results: Sequence[Result]) -> list[WorseCell]:
    """Cells whose face with the most exemplars is worse than the plain one, by more than the slack: which, and by how
    much, in each figure that is (negative: worse)."""
    found: list[WorseCell] = []
    for result in results:
        plain, best = result["figures"][PLAIN], result["figures"][best_row(results)]
        by: dict[str, float] = {}
        for metric, slack in SLACK.items():
            before, after = plain[metric], best[metric]
            if before is not None and after is not None:
                gain = (after - before) * (1 if HIGHER_IS_BETTER[metric] else -1)
                by |= {metric: gain} if gain < -slack else {}
        if by:
            found.append({**result["cell"], "by": by})
    return found


def gains(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """By row, over all cells: dB of PSNR and of identity over plain, LPIPS and warp error as shares of plain's."""
    found: dict[str, dict[str, float]] = {}
    for row in results[0]["figures"]:
        mean = {
            name: {metric: _mean([result["figures"][name][metric] for result in results]) for metric in METRICS}
            for name in (PLAIN, row)
        }
        plain, own, to = mean[PLAIN], mean[row], found.setdefault(row, {})
        for metric in ("psnr", "identity"):
            before, after = plain[metric], own[metric]
            if before is not None and after is not None:
                to[f"{metric}_gain"] = after - before
        for metric in ("lpips", "warp"):
            before, after = plain[metric], own[metric]
            if before and after is not None:
                to[f"{metric}_share"] = after / before
    return found


def as_json(results: Sequence[Result]) -> Record:
    """All that is told of finished cells: {"cells", "gains", "worse", "curves"}."""
    curves = gather(results)
    return {
        "cells": list(results),
        "gains": gains(results) if results else {},
        "worse": worse_cells(results),
        "curves": [
            {
                **asdict(one),
                "delta_rates": {
                    row: {metric: _described(metric, delta) for metric, delta in deltas.items()}
                    for row, deltas in delta_rates(one).items()
                },
            }
            for one in curves
        ],
    }


def _described(metric: str, delta: DeltaRate) -> Record:
    ends = [None if end is None else quality(metric, end) for end in (delta.low, delta.high)]
    return {**asdict(delta), "low": ends[0], "high": ends[1], "bound": delta.bound}
