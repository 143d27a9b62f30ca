"""What was measured in one stretch of time, be it a second or a minute."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_SAMPLES = 5000  # per series: in a second, 200 faces at 25 fps
HANDED_ON = 250  # per series and second, to the minute: as many as eight streams at 30 fps have

# Series that are told by their mean; all others are durations of stages.
MEANS = ("batch_size", "reference_gap", "quantizer_step", "late_share", "stalled_share")
MACHINE = ("cpu_cores", "cpu_share", "memory_mib", "gpu_share", "gpu_memory_mib")


@dataclass(frozen=True)
class Names:
    """What is counted, each from a fixed list."""

    outcomes: Sequence[str]
    bypasses: Sequence[str]
    levels: Sequence[str]
    recognitions: Sequence[str]
    bank: Sequence[str]


class Window:
    """Bounded: of more samples than are kept, the newest take the oldest ones' places."""

    def __init__(self) -> None:
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._seen: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def sample(self, series: str, value: float) -> None:
        samples = self._samples[series]
        if len(samples) < MAX_SAMPLES:
            samples.append(value)
        else:
            samples[self._seen[series] % MAX_SAMPLES] = value
        self._seen[series] += 1

    def add(self, other: Window) -> None:
        """Takes a shorter stretch's counts, and of its samples so many that the longest stretch stays bounded."""
        self.counts.update(other.counts)
        for series, samples in other._samples.items():
            kept = self._samples[series]
            kept += samples[:: -(-len(samples) // HANDED_ON)]
            if len(kept) > 60 * HANDED_ON:
                del kept[: len(kept) - 60 * HANDED_ON]
            self._seen[series] += other._seen[series]

    def told(self) -> dict[str, Any]:
        """What another process makes the same stretch of, by `of`; as JSON has it. Bounded as `add` is."""
        kept = {series: samples[:: -(-len(samples) // HANDED_ON)] for series, samples in self._samples.items()}
        return {"samples": kept, "seen": dict(self._seen), "counts": dict(self.counts)}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Window:
        window = cls()
        window._samples.update({series: list(samples) for series, samples in told["samples"].items()})
        window._seen.update(told["seen"])
        window.counts.update(told["counts"])
        return window

    def point(self, names: Names, seconds: float, now: dict[str, Any]) -> dict[str, Any]:
        """Milliseconds; counts over the whole stretch, rates per second. now: what is told as it is at the end."""
        samples = {name: values for name, values in self._samples.items() if name not in (*MEANS, *MACHINE)}
        latency = samples.pop("frame_latency", [])
        batch_size, reference_gap, quantizer_step, late_share, stalled_share = (self._mean(name) for name in MEANS)
        return {
            "stages": {name: self._percentiles(name, values) for name, values in samples.items()},
            "frame_latency": self._percentiles("frame_latency", latency),
            "fps_in": round(self.counts["fps_in"] / seconds, 2),
            "fps_out": round(self.counts["fps_out"] / seconds, 2),
            "outcomes": {name: self.counts[name] for name in names.outcomes},
            "bypass": {name: self.counts[name] for name in names.bypasses},
            "demand": {name: self.counts[name] for name in names.levels},
            "recognition": {name: self.counts[f"recognition {name}"] for name in names.recognitions},
            "bank": {name: self.counts[f"bank {name}"] for name in names.bank},
            "batch_size": batch_size,
            "reference_gap_s": reference_gap,
            "quantizer_step": quantizer_step,
            "short": {"late": late_share, "stalled": stalled_share},
            "machine": {name: self._mean(name) for name in MACHINE},
            **now,
        }

    def _mean(self, series: str) -> float | None:
        values = self._samples.get(series)
        return round(float(np.mean(values)), 3) if values else None

    def _percentiles(self, series: str, seconds: list[float]) -> dict[str, Any]:
        """Milliseconds; null without samples."""
        if not seconds:
            return {"p50": None, "p95": None, "p99": None, "count": 0}
        p50, p95, p99 = (round(float(value) * 1000, 3) for value in np.percentile(seconds, (50, 95, 99)))
        return {"p50": p50, "p95": p95, "p99": p99, "count": self._seen[series]}
