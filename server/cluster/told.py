"""What nodes and the directory tell each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Change:
    """Photos were added or forgotten in storage. person: None where photos are forgotten by id alone; ids: none where
    all that is known of a person is forgotten, or all that storage has of one is to be used."""

    kind: Literal["added", "forgotten"]
    person: str | None = field(repr=False)
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Numbered:
    """A change as the directory has it. by: the node that made it, and has carried it out."""

    number: int
    by: str
    change: Change


@dataclass(frozen=True)
class Beat:
    """What a node tells twice a second. url: an origin, as browsers have it; free: publishers that it has room for;
    rooms: that somebody is, waits, listens or is remembered in. directory: whose View it had last; heard, done: the
    last change that it has been told of, and that it has carried out with all before; done is -1 until it has compared
    what goes on there with storage once."""

    node: str
    url: str
    free: int
    rooms: frozenset[str] = field(repr=False)
    directory: str = ""
    heard: int = 0
    done: int = -1


@dataclass(frozen=True)
class View:
    """What a node is answered. directory: changes when it was started anew; nodes: URLs by id; rooms: nodes' ids by
    room; taken: rooms that the node told of, and another has; changes: that the node has not heard of; number: the last
    change of all; missed: whether there may have been changes that nobody remembers."""

    directory: str
    nodes: dict[str, str]
    rooms: dict[str, str] = field(repr=False)
    taken: frozenset[str] = field(default=frozenset(), repr=False)
    changes: tuple[Numbered, ...] = ()
    number: int = 0
    missed: bool = False


class FaceRefused(RuntimeError):
    """An engine of the cluster does not take a face: it is "Late", or there is "Overload", as engines have these. Their
    own classes would bring torch along."""
