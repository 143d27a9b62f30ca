"""Who watches a name, and goes on to when its publisher's network is lost and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hime_core.compositing.layout import Layout, View, width_class
from server.media.send.tracks import AudioTrack, VideoTrack
from server.media.session import Session

MOST_ABSENT = 64  # publishers of one room; who was lost first is given up first


@dataclass(frozen=True, eq=False)
class Watcher:
    """shown: pixels of the longer side that it shows. video, audio: None where that is not watched."""

    session: Session
    view: View
    layout: Layout
    shown: int | None
    video: VideoTrack | None
    audio: AudioTrack | None

    @property
    def picture(self) -> tuple[View, Layout, int | None]:
        """What is rendered for it: the same for all whose width is of one class."""
        return self.view, self.layout, width_class(self.view, self.layout, self.shown)

    def release(self) -> None:
        """Its tracks leave their stream, and wait for another."""
        for track in (self.video, self.audio):
            if track is not None:
                track.release()


@dataclass(frozen=True, eq=False)
class Absence:
    """A publisher whose network is lost. session: its last; watchers: by their session's id; since: clock seconds."""

    session: Session
    watchers: dict[str, Watcher]
    since: float


class Absences:
    """The publishers of one room whose network is lost, by name, the longest lost first; each for some seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """seconds: 0 for none at all."""
        self.seconds, self._clock = seconds, clock
        self._by_name: dict[str, Absence] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Absence | None:
        return self._by_name.get(name)

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def all(self) -> dict[str, Absence]:
        """By name."""
        return dict(self._by_name)

    @property
    def watched(self) -> bool:
        """Whether anybody waits for one of them."""
        return any(one.watchers for one in self._by_name.values())

    def begin(self, name: str, session: Session, watchers: dict[str, Watcher]) -> None:
        """watchers: released. Where the name was lost before, they wait with the others, and the time runs on."""
        before = self._by_name.get(name)
        if before is not None:
            before.watchers.update(watchers)
        else:
            self._by_name[name] = Absence(session, watchers, self._clock())

    def end(self, name: str) -> Absence:
        return self._by_name.pop(name)

    def over(self) -> list[str]:
        """Those who have not come back in time, and those who are too many."""
        now, names = self._clock(), list(self._by_name)
        late = [name for name in names if now - self._by_name[name].since >= self.seconds]
        return names[: max(len(late), len(names) - MOST_ABSENT)]

    def lost_watchers(self) -> list[tuple[str, str]]:
        """Those whose own network is lost: names and sessions' ids."""
        there = [(name, one) for name, absence in self._by_name.items() for one in absence.watchers.values()]
        return [(name, one.session.id) for name, one in there if one.session.is_lost()]
