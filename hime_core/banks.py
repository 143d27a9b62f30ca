"""Whose exemplars the faces of a stream have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hime_core.bank import ExemplarBank


class StreamBanks:
    """A bank for each face of one stream. One belongs to one unbroken track: nobody is drawn with another's details.

    first: the bank of the stream's own person, which may hold photos; it goes to the first face, and to the next one
    without the call's exemplars when that is gone. dropped: told the ids of exemplars that are no longer held.
    forget() may be called from any thread, the rest from one.
    """

    def __init__(self, first: ExemplarBank, dropped: Callable[[Iterable[str]], None]) -> None:
        self._first, self._dropped = first, dropped
        self._owner: int | None = None  # the track that `first` belongs to
        self._others: dict[int, ExemplarBank] = {}

    def keep(self, tracks: Sequence[int]) -> None:
        """The faces that are there now; what belonged to others is dropped."""
        for gone in set(self._others) - set(tracks):
            self._dropped(e.id for e in self._others.pop(gone).exemplars())
        if tracks and self._owner not in tracks:
            if self._owner is not None:
                self._dropped([e.id for e in self._first.exemplars() if e.source == "call"])
                self._first.clear_call()
            self._owner = next((track for track in tracks if track not in self._others), None)

    def of(self, track: int) -> ExemplarBank:
        if track == self._owner:
            return self._first
        if track not in self._others:
            self._others[track] = self._first.sibling()
        return self._others[track]

    def forget(self, exemplar_ids: Iterable[str] | None) -> None:
        """Drops exemplars by id; None drops all of them."""
        named = None if exemplar_ids is None else list(exemplar_ids)
        for bank in (self._first, *list(self._others.values())):
            gone = [e.id for e in bank.exemplars()] if named is None else named
            bank.remove(gone)
            self._dropped(gone)

    def close(self) -> None:
        for bank in (self._first, *self._others.values()):
            self._dropped(e.id for e in bank.exemplars() if e.source == "call")
