"""The running streams by number, and who watches them: for the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel

from hime_core.compositing.layout import Layout, View

if TYPE_CHECKING:  # these bring OpenCV and PyAV with them
    from server.rooms.participant import Participant
    from server.rooms.room import Room
    from server.rooms.watcher import Watcher


class WatcherTold(BaseModel):
    """number: of those who watch the stream now. kbps: sent to it in the last second; path_kbps: what its path is taken
    to carry; loss: of packets, as it reported last, 0..1; null without video. reduced: whether it gets the
    smaller layer of its view."""

    number: int
    view: View
    layout: Layout
    kbps: float | None
    path_kbps: float | None
    loss: float | None
    reduced: bool


class StreamTold(BaseModel):
    """number: of the stream, never used again. room, name: null for those who may not see them. exemplars: of all who
    are known in its picture; the other figures are those of the room's events."""

    number: int
    room: str | None
    name: str | None
    state: str
    fps_in: float
    fps_out: float
    latency_ms: float | None
    outcomes: dict[str, int]
    exemplars: int
    watchers: list[WatcherTold]


def streams_of(rooms: Iterable[Room], may_see: Callable[[str], bool]) -> list[StreamTold]:
    """Of those whose media has come, the oldest first. may_see: whether the names in a room may be told."""
    there = [(room.name, one) for room in rooms for one in room.participants.values() if one.joined]
    return [_told(room, one, may_see(room)) for room, one in sorted(there, key=lambda pair: pair[1].number)]


def _told(room: str, one: Participant, named: bool) -> StreamTold:
    stats = one.stats()
    return StreamTold(
        number=one.number,
        room=room if named else None,
        name=one.name if named else None,
        state=stats["state"],
        fps_in=stats["fps_in"],
        fps_out=stats["fps_out"],
        latency_ms=stats["latency_ms"],
        outcomes=stats["outcomes"],
        exemplars=len(one.people.exemplars()),
        watchers=[_watcher(number, watcher) for number, watcher in enumerate(one.watchers.values(), 1)],
    )


def _watcher(number: int, watcher: Watcher) -> WatcherTold:
    video = watcher.video
    return WatcherTold(
        number=number,
        view=watcher.view,
        layout=watcher.layout,
        kbps=None if video is None else round(video.path.sending / 1000, 1),
        path_kbps=None if video is None else round(video.path.rate / 1000, 1),
        loss=None if video is None else round(video.loss, 4),
        reduced=video is not None and video.reduced,
    )
