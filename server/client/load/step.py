"""The figures of so many calls over one window, and whether they are held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.client.load.call import CallFigures
from server.client.load.metrics import RelayCounts
from server.client.load.tally import Tally, percentile

WHOLE = 0.95  # of a call's frames, so that it is held


@dataclass(frozen=True)
class Step:
    """calls: that came about; held: so many of them; refused: how often, by why; watchers: of all calls, timed: those
    of them whose latency is known.

    sent_fps: of a publisher; watched_fps: of a watcher; came: share of the frames sent that were watched. Latencies in
    ms, None where none is known. freezes_per_minute, kbps: of a watcher; lost, recovered: shares of its packets.
    first_frame_ms: from its request. load_late_ms: 95 % of its frames the load itself sends so late at most.
    load_cores, relay_cores: seconds of processor time per second, the latter None where the relay does not say;
    outcomes: frames per second and call, where it is a HIME Relay.
    """

    calls: int
    held: int
    refused: Mapping[str, int]
    watchers: int
    timed: int
    sent_fps: float
    watched_fps: float
    came: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    freezes_per_minute: float
    frozen_share: float
    lost: float
    recovered: float
    jitter_ms: float
    kbps: float
    first_frame_p50_ms: float | None
    first_frame_max_ms: float | None
    load_late_ms: float | None
    load_cores: float
    relay_cores: float | None
    outcomes: Mapping[str, float]

    @property
    def all_held(self) -> bool:
        return self.held == self.calls and not self.refused


@dataclass(frozen=True)
class Usage:
    """Over a window of so many seconds: the load's processor time, and the relay's counts at both ends."""

    seconds: float
    cpu: float
    before: RelayCounts | None
    after: RelayCounts | None

    @property
    def relay_cores(self) -> float | None:
        before, after = self.before, self.after
        if before is None or after is None or before.cpu_seconds is None or after.cpu_seconds is None:
            return None
        return (after.cpu_seconds - before.cpu_seconds) / self.seconds

    def outcomes(self, calls: int) -> dict[str, float]:
        if self.before is None or self.after is None:
            return {}
        gained = {name: count - self.before.frames.get(name, 0.0) for name, count in self.after.frames.items()}
        return {name: count / self.seconds / max(calls, 1) for name, count in gained.items()}


def came(sent: int, tally: Tally) -> float:
    """The share of the frames sent that each of the watchers got."""
    return min(1.0, tally.frames / (sent * tally.watchers)) if sent and tally.watchers else 0.0


def is_held(figures: CallFigures, limit: float) -> bool:
    """limit: seconds that 95 % of its frames may take. Where no latency is known, frames alone decide."""
    late = figures.tally.percentile(0.95)
    return came(figures.sent, figures.tally) >= WHOLE and (late is None or late <= limit)


def step_of(figures: Sequence[CallFigures], refused: Mapping[str, int], usage: Usage, limit: float) -> Step:
    """limit: seconds."""
    whole = Tally.together(one.tally for one in figures)
    wanted = sum(one.sent * one.tally.watchers for one in figures)
    firsts = sorted(first for one in figures for first in one.first_frames)
    watchers, seconds = max(whole.watchers, 1), usage.seconds
    return Step(
        calls=len(figures),
        held=sum(is_held(one, limit) for one in figures),
        refused=dict(refused),
        watchers=whole.watchers,
        timed=whole.timed,
        sent_fps=sum(one.sent for one in figures) / seconds / max(len(figures), 1),
        watched_fps=whole.frames / seconds / watchers,
        came=min(1.0, whole.frames / wanted) if wanted else 0.0,
        p50_ms=_ms(whole.percentile(0.50)),
        p95_ms=_ms(whole.percentile(0.95)),
        p99_ms=_ms(whole.percentile(0.99)),
        freezes_per_minute=60 * whole.freezes / seconds / watchers,
        frozen_share=whole.frozen_seconds / seconds / watchers,
        lost=whole.lost / max(whole.expected, 1),
        recovered=whole.recovered / max(whole.expected, 1),
        jitter_ms=1000 * whole.jitter / watchers,
        kbps=8 * whole.octets / seconds / watchers / 1000,
        first_frame_p50_ms=_ms(firsts[len(firsts) // 2] if firsts else None),
        first_frame_max_ms=_ms(firsts[-1] if firsts else None),
        load_late_ms=_ms(percentile(sum((one.late for one in figures), Counter()), 0.95)),
        load_cores=usage.cpu / seconds,
        relay_cores=usage.relay_cores,
        outcomes=usage.outcomes(len(figures)),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
