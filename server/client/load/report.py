"""What was measured, as a table of one line a step, or as one JSON document (docs/load.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from server.client.load.step import Step

VERSION = 1  # of the document
# Of the clip's rate, what a load that keeps up sends at least; and how late it sends 95 % of the frames at most.
ABLE, LATE_MS = 0.97, 20.0

COLUMNS: Mapping[str, Callable[[Step], str]] = {
    "calls": lambda step: f"{step.calls}",
    "held": lambda step: f"{step.held}",
    "refused": lambda step: f"{sum(step.refused.values())}",
    "sent/s": lambda step: f"{step.sent_fps:.1f}",
    "came/s": lambda step: f"{step.watched_fps:.1f}",
    "came": lambda step: f"{100 * step.came:.1f} %",
    "p50 ms": lambda step: _number(step.p50_ms),
    "p95 ms": lambda step: _number(step.p95_ms),
    "freezes/min": lambda step: f"{step.freezes_per_minute:.1f}",
    "lost": lambda step: f"{100 * step.lost:.2f} %",
    "jitter ms": lambda step: f"{step.jitter_ms:.1f}",
    "kbit/s": lambda step: f"{step.kbps:.0f}",
    "first ms": lambda step: _number(step.first_frame_p50_ms),
    "load late": lambda step: _number(step.load_late_ms),
    "load cores": lambda step: f"{step.load_cores:.2f}",
    "relay cores": lambda step: "–" if step.relay_cores is None else f"{step.relay_cores:.2f}",
    "enhanced/s": lambda step: f"{step.outcomes['enhanced']:.1f}" if step.outcomes else "–",
}


def heading() -> str:
    return "  ".join(name.rjust(_width(name)) for name in COLUMNS)


def line(step: Step) -> str:
    return "  ".join(cell(step).rjust(_width(name)) for name, cell in COLUMNS.items())


def most_held(steps: Sequence[Step]) -> int:
    """The largest number of calls of which all were held; where there is no such step, how many of the last one's."""
    whole = [step.calls for step in steps if step.calls and step.held == step.calls]
    return max(whole, default=steps[-1].held)


def summary(steps: Sequence[Step], limit: float, until_full: bool, fps: float) -> str:
    """One line of at least one step. limit: seconds; fps: of the clip."""
    last = steps[-1]
    full = not last.all_held
    held = most_held(steps)
    told = f"held: {held}" if until_full else f"held: {last.held} of {last.calls}"
    if until_full and not full:
        told += " or more"
    plural = (held if until_full else last.calls) != 1
    told += f" call{'s' if plural else ''} (95 % of the frames came, 95 % of them within {1000 * limit:.0f} ms)"
    if last.refused:
        told += f"; refused: {reasons(last.refused)}"
    if last.timed < last.watchers:
        told += f"; the latency of {last.watchers - last.timed} of {last.watchers} watchers is not known"
    if is_behind(last, fps):
        late = _number(last.load_late_ms)
        told += (
            f"; the load itself was too slow: it sent {last.sent_fps:.1f} of {fps:.1f} frames/s, up to {late} ms late"
        )
    return told


def reasons(refused: Mapping[str, int]) -> str:
    """Why calls have not come about, and how many; a word where none was tried."""
    return ", ".join(f"{count} × {why}" for why, count in sorted(refused.items())) or "it was ended before"


def is_behind(step: Step, fps: float) -> bool:
    """Whether the load could not send what it wanted to, so that the step says little of the relay. fps: the clip's."""
    return step.sent_fps < ABLE * fps or (step.load_late_ms or 0.0) > LATE_MS


def document(steps: Sequence[Step], options: Mapping[str, Any], fps: float) -> dict[str, Any]:
    """options: what was asked for, without secrets; fps: of the clip."""
    told = [{**asdict(step), "all_held": step.all_held, "load_behind": is_behind(step, fps)} for step in steps]
    return {"version": VERSION, "options": dict(options), "held": most_held(steps), "steps": told}


def _width(name: str) -> int:
    return max(len(name), 7)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
