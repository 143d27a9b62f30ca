"""What the frames of one way tell: how old they are when they are shown, and where that time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

MEASURES = ("p50", "p95", "sender", "relay", "receiver", "judder", "shown_s", "unread", "width")
TICKS = 90  # of RTP timestamps, per millisecond
WRAP = 65536  # milliseconds that a frame's mark counts to


@dataclass(frozen=True)
class Frame:
    """Milliseconds since the epoch: made by the camera, wholly received by the watcher's browser, shown."""

    made: float
    received: float
    shown: float
    width: int

    @classmethod
    def of(cls, mark: float, received: float, shown: float, width: int) -> Frame:
        """mark: when it was made, modulo WRAP; the last such time before it was received."""
        return cls(received - (received - mark) % WRAP, received, shown, width)


@dataclass(frozen=True)
class Reading:
    """What the watcher's browser says of a frame that it shows. mark: None where the strip cannot be read; rtp: its RTP
    timestamp, 90 kHz."""

    mark: int | None
    received: float
    shown: float
    width: int
    rtp: int


def by_marks(readings: Sequence[Reading]) -> list[Frame]:
    return [Frame.of(one.mark, one.received, one.shown, one.width) for one in readings if one.mark is not None]


def by_timestamps(readings: Sequence[Reading], before: Sequence[Reading]) -> list[Frame]:
    """Where the strip is not shown. before: readings of the same call, of which most show it: they tell how far RTP
    timestamps, which the relay keeps a constant apart from the publisher's, are from marks."""
    marked = [one for one in before if one.mark is not None]
    if not marked:
        return []
    first = marked[0].rtp

    def time(rtp: int) -> float:
        """Milliseconds since the first one."""
        return ((rtp - first + 2**31) % 2**32 - 2**31) / TICKS

    apart = [(time(one.rtp) - (one.mark or 0)) % WRAP for one in marked]
    around = [(one - apart[0] + WRAP / 2) % WRAP - WRAP / 2 for one in apart]
    offset = apart[0] + float(np.median(around))
    return [Frame.of((time(one.rtp) - offset) % WRAP, one.received, one.shown, one.width) for one in readings]


def goals(ways: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was wanted, what it is, and whether that is met. ways: means of rows, by `size way`."""
    found: list[dict[str, Any]] = []

    def goal(text: str, value: float, most: float) -> None:
        found.append({"goal": text, "value": value, "met": bool(value <= most)})

    for size in dict.fromkeys(name.split()[0] for name in ways):
        plain, original, enhanced = (ways.get(f"{size} {way}") for way in ("aiortc", "original", "enhanced"))
        if plain and original:
            goal(f"{size} original: median above plain aiortc's at most 0 ms", original["p50"] - plain["p50"], 0)
        if original:
            growth = original["thirds"][-1] - original["thirds"][0]
            goal(f"{size} original: the last third's median above the first's at most 10 ms", growth, 10)
        if original and enhanced:
            for key, most in (("p50", 60), ("p95", 80)):
                goal(f"{size} enhanced: {key} above original's at most {most} ms", enhanced[key] - original[key], most)
        if enhanced and "composite" in enhanced["stages"]:
            goal(f"{size} enhanced: the relay's compositing at most 5 ms", enhanced["stages"]["composite"], 5)
    return found


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


def means(rows: Sequence[Row]) -> dict[str, Any]:
    """Of a case's rounds."""
    found: dict[str, Any] = {key: float(np.mean([getattr(row, key) for row in rows])) for key in MEASURES}
    found["thirds"] = np.mean([row.thirds for row in rows], axis=0).tolist()
    for key in ("stages", "stats"):
        names = dict.fromkeys(name for row in rows for name in getattr(row, key))
        found[key] = {name: float(np.mean([getattr(row, key).get(name, 0) for row in rows])) for name in names}
    return found


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
    out0, out1 = (_stream(reports, "outbound-rtp", "video") for reports in (sent0, sent1))
    in0, in1 = (_stream(reports, "inbound-rtp", "video") for reports in (seen0, seen1))

    def each(new: dict[str, Any], old: dict[str, Any], total: str, count: str) -> float:
        number = new.get(count, 0) - old.get(count, 0)
        return 1000 * (new.get(total, 0) - old.get(total, 0)) / number if number else float("nan")

    sound = _stream(seen1, "inbound-rtp", "audio")
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


def _stream(reports: list[dict[str, Any]], type_: str, kind: str) -> dict[str, Any]:
    """The first one of those."""
    return next((one for one in reports if (one["type"], one.get("kind")) == (type_, kind)), {})
