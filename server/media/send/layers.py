"""The two layers of a watched view, the full one and a reduced one for poor paths: which of them a watcher gets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import cv2

from hime_core.video.picture import Picture
from server.media.send.bitrate import Bitrates
from server.media.send.trial import Trial, Unpadded

Layer = Literal["full", "reduced"]

DOWN, UP = 0.5, 0.75  # of what the best path to a watcher of the view carries
MARGIN = 1.3  # times the full layer's lowest bitrate, to come up
CALM = 4.0, 64.0  # seconds that a path has to carry the full layer before it is given: after a fall, and at most
FIRST_CALM = 0.5  # of a watcher that never fell
SOON = 30.0  # seconds after coming up, within which a fall doubles the wait
HALVED_FROM = 480  # pixels of the longer side


class LayerChoice:
    """One watcher's: down at once, up when the path has carried enough for a while."""

    def __init__(self, bitrates: Bitrates, clock: Callable[[], float] = time.monotonic) -> None:
        """bitrates: the full layer's."""
        self.layer: Layer = "full"
        self._least = bitrates.min
        self._clock = clock
        self._calm = FIRST_CALM
        self._wide_since: float | None = None
        self._rose = float("-inf")
        self._trial = Trial(clock)

    @property
    def tries(self) -> bool:
        """Whether the full layer is on trial: the path is not known to carry it."""
        return self._trial.running

    def update(self, rate: float, best: float, unpadded: Unpadded | None = None) -> bool:
        """rate: what the path carries; best: of all watchers of the view, bit/s; unpadded: None where padding shows
        that. Whether another layer is chosen."""
        now = self._clock()
        if self.layer == "full":
            return self._fall(rate, best, unpadded)
        if rate < max(MARGIN * self._least, UP * best):
            self._wide_since = None
            if unpadded is None or not self._trial.due(rate, unpadded):
                return False
            self.layer, self._rose = "full", now
            return True
        self._wide_since = now if self._wide_since is None else self._wide_since
        if now - self._wide_since < self._calm:
            return False
        self.layer, self._rose = "full", now
        return True

    def _fall(self, rate: float, best: float, unpadded: Unpadded | None) -> bool:
        now = self._clock()
        if rate >= max(self._least, DOWN * best):
            if self.tries:
                self._trial.end()
                self._rose = now
            return False
        if self.tries and unpadded is not None and not self._trial.fails(rate, unpadded):
            return False
        soon = now - self._rose < SOON
        self._trial.fall(rate, soon)
        self.layer, self._wide_since = "reduced", None
        least, most = CALM
        self._calm = min(2 * self._calm, most) if soon else least
        return True

    def begin(self, rate: float, best: float) -> None:
        """Chooses the first layer."""
        if self.update(rate, best):
            self._calm = FIRST_CALM


def reduced(picture: Picture) -> Picture:
    """For the reduced layer: half the sides, but for small pictures, which stay as they are."""
    if max(picture.width, picture.height) < HALVED_FROM:
        return picture
    small = Picture.blank(picture.width // 4 * 2, picture.height // 4 * 2)
    for source, target in ((picture.y, small.y), (picture.u, small.u), (picture.v, small.v)):
        cv2.resize(source, target.shape[::-1], dst=target, interpolation=cv2.INTER_AREA)
    return small
