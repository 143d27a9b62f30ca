"""Whether the queue on a path grows, by how the delay between groups of packets changes.

The delay-based detector of Google's congestion control (draft-ietf-rmcat-gcc-02, section 5), with the slope of a line
through the accumulated delays in place of the Kalman filter, as libwebrtc has had it since.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

Usage = Literal["under", "normal", "over"]

BURST = 0.005  # seconds in which packets leave, or arrive, to be taken for one group
WINDOW = 20  # groups that the line is laid through
SMOOTHING = 0.9
GAIN, MOST_GROUPS = 4.0, 60
THRESHOLD = 12.5, 6.0, 600.0  # milliseconds of the trend: at first, the least, the most
RISE, FALL = 0.0087, 0.039  # of the threshold towards the trend, per millisecond
OUTLIER = 15.0  # milliseconds above the threshold from which on a trend does not move it
OVER_FOR = 0.010  # seconds that the trend has to be above it
MEMORY, BUCKET = 20, 1.0  # buckets, and seconds of each, over which the least delay is that of an empty queue
STALE = 3.0  # seconds without packets, after which everything begins anew


class _Group:
    __slots__ = ("arrived", "first", "sent")

    def __init__(self, sent: float, arrived: float) -> None:
        self.first = self.sent = sent
        self.arrived = arrived


class DelayTrend:
    """Times in seconds; those of arrival are of a clock of the receiver's."""

    def __init__(self) -> None:
        self.usage: Usage = "normal"
        self._newest = 0.0  # packet's delay
        self._least: deque[tuple[float, float]] = deque(maxlen=MEMORY)  # when each bucket began, and its least delay
        self._group: _Group | None = None
        self._before: _Group | None = None
        self._restart()

    def _restart(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=WINDOW)  # arrival, smoothed delay; milliseconds
        self._origin: float | None = None
        self._groups = 0
        self._delay = self._smoothed = 0.0  # milliseconds
        self._threshold = THRESHOLD[0]
        self._trend = 0.0
        self._over: float | None = None  # seconds that the trend has been above the threshold
        self._over_count = 0
        self._moved: float | None = None

    @property
    def standing(self) -> float:
        """Seconds that the newest packet took longer than the quickest lately."""
        return self._newest - min((least for _, least in self._least), default=0.0)

    def add(self, sent: float, arrived: float) -> None:
        """One packet, in the order in which they left."""
        self._stand(arrived, arrived - sent)
        group = self._group
        if group is None:
            self._group = _Group(sent, arrived)
            return
        if sent < group.first:
            return
        if sent - group.sent > STALE:
            self._group, self._before, self.usage = _Group(sent, arrived), None, "normal"
            self._restart()
            return
        together = arrived - group.arrived <= BURST and arrived - group.arrived < sent - group.sent
        if sent - group.first <= BURST or together:
            group.sent, group.arrived = max(sent, group.sent), max(arrived, group.arrived)
            return
        if self._before is not None:
            self._update(group.sent - self._before.sent, group.arrived - self._before.arrived, group.arrived)
        self._before, self._group = group, _Group(sent, arrived)

    def _stand(self, arrived: float, delay: float) -> None:
        if not self._least or arrived - self._least[-1][0] >= BUCKET:
            self._least.append((arrived, delay))
        elif delay < self._least[-1][1]:
            self._least[-1] = self._least[-1][0], delay
        self._newest = delay

    def _update(self, sent: float, took: float, arrived: float) -> None:
        """sent, took: between two groups, as they left and as they arrived."""
        self._groups = min(self._groups + 1, MOST_GROUPS)
        self._delay += 1000 * (took - sent)
        self._smoothed = SMOOTHING * self._smoothed + (1 - SMOOTHING) * self._delay
        self._origin = arrived if self._origin is None else self._origin
        self._points.append((1000 * (arrived - self._origin), self._smoothed))
        slope = _slope(self._points) if len(self._points) == WINDOW else 0.0
        self._detect(self._groups * slope * GAIN, slope, sent, arrived)

    def _detect(self, modified: float, slope: float, sent: float, arrived: float) -> None:
        if modified > self._threshold:
            self._over = sent / 2 if self._over is None else self._over + sent
            self._over_count += 1
            if self._over > OVER_FOR and self._over_count > 1 and slope >= self._trend:
                self._over, self._over_count, self.usage = 0.0, 0, "over"
        else:
            self._over, self._over_count = None, 0
            self.usage = "under" if modified < -self._threshold else "normal"
        self._trend = slope
        self._adapt(abs(modified), arrived)

    def _adapt(self, size: float, arrived: float) -> None:
        moved, self._moved = self._moved, arrived
        if moved is None or size > self._threshold + OUTLIER:
            return
        share = (FALL if size < self._threshold else RISE) * min(1000 * (arrived - moved), 100.0)
        _, least, most = THRESHOLD
        self._threshold = min(max(self._threshold + share * (size - self._threshold), least), most)


def _slope(points: deque[tuple[float, float]]) -> float:
    """Of the line with the least squares."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
