"""The other processes of a relay, whose calls use the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Elsewhere(Protocol):
    """Told of what has been changed in storage. Returns when all others have done it."""

    async def added(self, person: str, ids: Sequence[str]) -> None:
        """Photos of a person were registered. Does not raise: who has not heard of them uses them from the next stream
        on."""

    async def forget(self, person: str | None, ids: Sequence[str]) -> None:
        """Photos were deleted; with a person, all that is known of them. Raises Problem 503 where one of the others
        does not answer."""


class Nowhere:
    """There are no others."""

    async def added(self, person: str, ids: Sequence[str]) -> None: ...

    async def forget(self, person: str | None, ids: Sequence[str]) -> None: ...
