"""What a worker tells the front of itself, twice a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from server.load.cost import Cost
from server.rooms.streams import StreamTold

if TYPE_CHECKING:  # these bring OpenCV and PyAV with them
    from server.rooms.room import Room

Key = tuple[str, str]  # a room, and a name in it


class NameTold(BaseModel):
    """A name in use. sessions: of who has it and of who waits for it, none where its network is lost; watchers: the
    sessions that watch it, or wait."""

    model_config = ConfigDict(frozen=True)

    sessions: list[str]
    watchers: list[str]


class RoomTold(BaseModel):
    """By name: who is there, or may come back to who waits. remembered: who has left, and is known should they come
    again."""

    model_config = ConfigDict(frozen=True)

    names: dict[str, NameTold]
    remembered: list[str]


class Report(BaseModel):
    """rooms: those that somebody is, waits or is remembered in. bank: exemplars of all streams. most_streams,
    most_watchers: what this machine is taken to carry. memory_mib, cpu_cores: of the process, as it was looked at last;
    None where it cannot be told. reasons: why it is not ready, with storage as it was found last. seconds: what was
    counted in each second (Unix time) that has ended since the last few reports, as Window tells it. cost: of a stream
    at the least; full: whether all streams have that already and are late; stepped: how deep they have stepped down for
    the machine's sake, an index of the ladder; rungs: streams on each."""

    model_config = ConfigDict(frozen=True)

    rooms: dict[str, RoomTold]
    streams: list[StreamTold]
    bank: int
    most_streams: int
    most_watchers: int
    memory_mib: float | None
    cpu_cores: float | None
    reasons: list[str]
    recogniser: str | None
    seconds: list[tuple[int, dict[str, Any]]]
    cost: Cost = Cost()
    full: bool = False
    stepped: int = 0
    rungs: dict[str, int] = {}

    @property
    def used(self) -> set[Key]:
        return {(room, name) for room, told in self.rooms.items() for name in told.names}

    @property
    def remembered(self) -> set[Key]:
        return {(room, name) for room, told in self.rooms.items() for name in told.remembered}

    @property
    def sessions(self) -> set[str]:
        """Publishers' and watchers'."""
        names = [name for told in self.rooms.values() for name in told.names.values()]
        return {session for name in names for session in (*name.sessions, *name.watchers)}

    @property
    def watchers(self) -> int:
        return sum(len(name.watchers) for told in self.rooms.values() for name in told.names.values())


def told_of(room: Room) -> RoomTold:
    names: dict[str, NameTold] = {}
    newcomers, absent = room.newcomers, room.absent
    for name in {**room.participants, **newcomers, **absent}:
        publishers = [one for one in (room.participants.get(name), newcomers.get(name)) if one is not None]
        watched = [one.watchers for one in (*publishers, absent.get(name)) if one is not None]
        names[name] = NameTold(
            sessions=[one.session.id for one in publishers],
            watchers=[session for watchers in watched for session in watchers],
        )
    return RoomTold(names=names, remembered=room.remembered.names)
