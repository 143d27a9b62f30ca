"""What the frames of one way tell: how old they are when they are shown, and where that time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

WRAP = 65536  # milliseconds that a frame's mark counts to


@dataclass(frozen=True)
class Frame:
    """Milliseconds since the epoch: made by the camera, wholly received by the watcher's browser, shown."""

    made: float
    received: float
    shown: float
    width: int

    @classmethod
    def of(cls, mark: int, received: float, shown: float, width: int) -> Frame:
        """mark: when it was made, modulo WRAP; the last such time before it was received."""
        return cls(received - (received - mark) % WRAP, received, shown, width)


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """50 and 95; NaN of nothing."""
    return tuple(np.percentile(values, (50, 95))) if len(values) else (float("nan"),) * 2  # type: ignore[return-value]


@dataclass(frozen=True)
class Row:
    """Of one way in one round, milliseconds but for the counts. p50, p95: from the camera to the screen; thirds:
    medians of the time's thirds; relay: the mean of what it counts itself; sender, receiver: medians of what passes
    until a frame is received, less that, and until it is shown; judder: as the benchmark's head says; shown_s: frames a
    second; stages: the relay's, the mean of each; stats: of the browsers."""

    p50: float
    p95: float
    thirds: tuple[float, ...]
    sender: float
    relay: float
    receiver: float
    judder: float
    shown_s: float
    unread: int
    width: int
    stages: Mapping[str, float]
    stats: Mapping[str, float]

    @classmethod
    def of(
        cls, frames: Sequence[Frame], unread: int, seconds: float, gained: Mapping[str, float], stats: dict[str, float]
    ) -> Row:
        """gained: what the relay counted meanwhile, by name; empty where it does not count."""
        ages = [frame.shown - frame.made for frame in frames]
        p50, p95 = percentiles(ages)
        before = percentiles([frame.received - frame.made for frame in frames])[0]
        after = percentiles([frame.shown - frame.received for frame in frames])[0]
        relay = _mean(gained, "frame_latency_seconds") or 0.0
        judder = [abs((b.shown - a.shown) - (b.made - a.made)) for a, b in pairwise(frames)]
        stages = {
            name.removeprefix("stage_duration_seconds_sum "): 1000
            * value
            / max(1, gained[name.replace("_sum", "_count")])
            for name, value in gained.items()
            if name.startswith("stage_duration_seconds_sum ") and value
        }
        return cls(
            p50, p95, tuple(percentiles(part)[0] for part in np.array_split(ages, 3)), before - relay, relay, after,
            float(np.mean(judder)) if judder else float("nan"), len(frames) / seconds, unread,
            max((frame.width for frame in frames), default=0), stages, stats,
        )  # fmt: skip


def _mean(gained: Mapping[str, float], name: str) -> float | None:
    """Milliseconds, from a histogram of seconds."""
    count = gained.get(f"{name}_count", 0)
    return 1000 * gained[f"{name}_sum"] / count if count else None


def browsers(
    before: tuple[list[dict[str, Any]], ...], after: tuple[list[dict[str, Any]], ...]
) -> dict[str, float]:  # fmt: skip
    """What getStats (W3C webrtc-stats) says of the time between: milliseconds a frame, unless the name says else.

    av_ms: how far the picture's playout is behind the sound's.
    """
    (sent0, seen0), (sent1, seen1) = before, after
    out0, out1 = _stream(sent0, "video"), _stream(sent1, "video")
    in0, in1 = _stream(seen0, "video"), _stream(seen1, "video")

    def each(new: dict[str, Any], old: dict[str, Any], total: str, count: str) -> float:
        number = new.get(count, 0) - old.get(count, 0)
        return 1000 * (new.get(total, 0) - old.get(total, 0)) / number if number else float("nan")

    sound = _stream(seen1, "audio")
    played = in1.get("estimatedPlayoutTimestamp"), sound.get("estimatedPlayoutTimestamp")
    return {
        "encode": each(out1, out0, "totalEncodeTime", "framesEncoded"),
        "send_delay": each(out1, out0, "totalPacketSendDelay", "packetsSent"),
        "jitter_buffer": each(in1, in0, "jitterBufferDelay", "jitterBufferEmittedCount"),
        "jitter_target": each(in1, in0, "jitterBufferTargetDelay", "jitterBufferEmittedCount"),
        "decode": each(in1, in0, "totalDecodeTime", "framesDecoded"),
        "av_ms": played[1] - played[0] if None not in played else float("nan"),
        "dropped": in1.get("framesDropped", 0) - in0.get("framesDropped", 0),
        "freezes": in1.get("freezeCount", 0) - in0.get("freezeCount", 0),
        "kbit_s": 8 * (in1.get("bytesReceived", 0) - in0.get("bytesReceived", 0))
        / max(1e-9, in1.get("timestamp", 0) - in0.get("timestamp", 0)),
    }  # fmt: skip


def _stream(reports: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next((one for one in reports if one.get("kind") == kind), {})
