"""Whether the machine has room for one more: places are reserved at the offer, before anything is awaited."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from server.limits.rates import Count, uncounted
from server.limits.slots import Full, Slot, Slots
from server.problem_kinds import Kind
from server.problems import Problem
from server.settings import Settings
from server.settings.processors import cores

RETRY_AFTER = 5  # seconds; those who leave make room at any time
LEAST_STREAMS = 8  # published video: a small meeting, whatever the machine
STREAMS_PER_CORE, STREAMS_PER_CORE_GPU = 4, 6
WATCHERS_PER_STREAM = 8


def no_more_rooms(most: int) -> Problem:
    """What is answered where there are so many rooms already."""
    return Problem(
        503,
        f"The relay has no room for another room: it takes {most}. Try again later.",
        {"Retry-After": str(RETRY_AFTER)},
        kind="relay-full",
        limit="HIME_MAX_ROOMS",
    )


def estimated_streams(cores: float, gpu: bool) -> int:
    """Published video that a machine carries.

    An estimate: 8 calls a core pass by without enhancement, 1.4 with it on the same cores (docs/performance.md), and
    enhancement gives way first under load. Half of the former on a processor, three quarters where a graphics card
    enhances.
    """
    return max(LEAST_STREAMS, int(cores * (STREAMS_PER_CORE_GPU if gpu else STREAMS_PER_CORE)))


@dataclass(frozen=True, eq=False)
class _Kind:
    """What there may be so many of. one: its name; group: what has a limit of its own; reason: in the metrics; limits:
    the settings, for all and for one group; kind: the problem's where a group is full."""

    slots: Slots
    one: str
    group: str
    reason: str
    limits: tuple[str, str]
    kind: Kind = "relay-full"

    def problem(self, full: Full) -> Problem:
        where = "The relay" if full.in_all else f"The {self.group}"
        return Problem(
            503,
            f"{where} has no room for another {self.one}: it takes {full.most}. Try again when one has left.",
            {"Retry-After": str(RETRY_AFTER)},
            kind="relay-full" if full.in_all else self.kind,
            limit=self.limits[0 if full.in_all else 1],
        )


class Admitted:
    """The places of one session. `release` gives them back, and may be called several times; so does an exception in
    its `with` block."""

    def __init__(self, slots: Mapping[Slots, Slot]) -> None:
        self._slots = dict(slots)

    def share(self, slots: Slots) -> Slot | None:
        """A hold on its place among those slots, for who comes in its stead."""
        mine = self._slots.get(slots)
        return None if mine is None else mine.share()

    def release(self) -> None:
        for slot in self._slots.values():
            slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.release()


class Admission:
    """The places there are for publishers, watchers and listeners. For the event loop.

    Each method raises Problem 503 with Retry-After where there is none, and counts that.
    """

    def __init__(self, settings: Settings, gpu: Callable[[], bool] = lambda: False, refused: Count = uncounted) -> None:
        """gpu: whether a graphics card enhances; asked where a setting is "auto"."""
        self._refused = refused
        streams = estimated_streams(cores(), gpu()) if settings.max_streams == "auto" else settings.max_streams
        watchers = WATCHERS_PER_STREAM * streams if settings.max_watchers == "auto" else settings.max_watchers
        self.streams = Slots(streams)
        self.participants = Slots(settings.max_participants, settings.max_participants_per_room)
        self.watchers = Slots(watchers, settings.max_watchers_per_participant)
        self.listeners = Slots(settings.max_listeners, settings.max_listeners_per_room)
        self._streams = _Kind(self.streams, "published video", "", "streams", ("HIME_MAX_STREAMS", ""))
        self._participants = _Kind(
            self.participants,
            "participant",
            "room",
            "participants",
            ("HIME_MAX_PARTICIPANTS", "HIME_MAX_PARTICIPANTS_PER_ROOM"),
            "room-full",
        )
        self._watchers = _Kind(
            self.watchers,
            "watcher",
            "participant",
            "watchers",
            ("HIME_MAX_WATCHERS", "HIME_MAX_WATCHERS_PER_PARTICIPANT"),
            "participant-full",
        )
        self._listeners = _Kind(
            self.listeners,
            "event stream",
            "room",
            "listeners",
            ("HIME_MAX_LISTENERS", "HIME_MAX_LISTENERS_PER_ROOM"),
            "room-full",
        )

        self.checks = Slots(settings.max_checks)
        self._checks = _Kind(self.checks, "connection test", "", "checks", ("HIME_MAX_CHECKS", ""))
        self.banks = Slots(settings.max_waiting_banks)
        self._banks = _Kind(self.banks, "request for the exemplars in use", "", "banks", ("HIME_MAX_WAITING_BANKS", ""))

    def publisher(self, room: str, video: bool, instead_of: Admitted | None = None) -> Admitted:
        """instead_of: the places of the publisher whose name is taken over, which are shared until that one has left,
        so that nobody's own old session keeps them out."""
        wanted: list[tuple[_Kind, Hashable]] = [(self._participants, room)]
        return self._all([*wanted, (self._streams, None)] if video else wanted, instead_of)

    def watcher(self, room: str, participant: str) -> Admitted:
        return self._all([(self._watchers, (room, participant))])

    def listener(self, room: str | None) -> Admitted:
        """room: whose events; None: the dashboard's figures, which are limited in all only."""
        return self._all([(self._listeners, room if room is not None else object())])

    def check(self) -> Admitted:
        """For one connection of a test."""
        return self._all([(self._checks, None)])

    def bank(self) -> Admitted:
        """For one who asks for the pictures of exemplars, to be released when they are there."""
        return self._all([(self._banks, None)])

    def _all(self, wanted: Sequence[tuple[_Kind, Hashable]], instead_of: Admitted | None = None) -> Admitted:
        got: dict[Slots, Slot] = {}
        for kind, group in wanted:
            try:
                shared = instead_of.share(kind.slots) if instead_of else None
                got[kind.slots] = shared or kind.slots.take(group)
            except Full as full:
                Admitted(got).release()
                self._refused(kind.reason)
                raise kind.problem(full) from None
        return Admitted(got)
