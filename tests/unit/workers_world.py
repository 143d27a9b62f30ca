"""What the tests of several workers share: a clock, and what a worker tells."""

from __future__ import annotations

from server.workers.report import NameTold, Report, RoomTold


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 0.001  # no two moments are one
        return self.now


def report(names: dict[tuple[str, str], NameTold] | None = None, memory: float = 100.0, remembered=()) -> Report:
    rooms: dict[str, dict[str, NameTold]] = {}
    for (room, name), told in (names or {}).items():
        rooms.setdefault(room, {})[name] = told
    for room, _ in remembered:
        rooms.setdefault(room, {})
    return Report(
        rooms={
            room: RoomTold(names=told, remembered=[name for at, name in remembered if at == room])
            for room, told in rooms.items()
        },
        streams=[],
        bank=0,
        most_streams=8,
        most_watchers=64,
        memory_mib=memory,
        cpu_cores=0.1,
        reasons=[],
        recogniser=None,
        seconds=[],
    )


def in_use(*sessions: str, watchers: tuple[str, ...] = ()) -> NameTold:
    return NameTold(sessions=list(sessions), watchers=list(watchers))


ANN, BOB = ("r", "ann"), ("r", "bob")
