"""Who asks, and what they may do. Each `lacks_…` says in one sentence what is missing, or None where nothing is.

The sentences name rights and claims, never a room, a person or a key.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from server.access.keys import ApiKey, Right
from server.access.tokens import Token
from server.problem_kinds import Kind

OTHER_ROOM = "The token is for another room."
OTHER_NAME = "The token is for another name: everyone publishes as themselves."
OTHERS_PHOTOS = "These are another person's photos: they need that person's token, or a key with the right 'people'."
GUEST = (
    "The token is a guest's, whom a room's admin invited: a name that only counts in that room has no photos. A token "
    "made with an API key has."
)
NO_ROOM = "This needs a room token; an API key makes one."
# Problems of their own; all else is "forbidden".
KINDS: dict[str, Kind] = {
    OTHER_ROOM: "other-room",
    OTHER_NAME: "other-name",
    OTHERS_PHOTOS: "others-photos",
    GUEST: "guest-without-photos",
}


@dataclass(frozen=True)
class Caller:
    """Of one request. subject: a token's `sub`, `key:` and a key's name, or the network address where no token is
    needed; sessions belong to it. token, key: one of them, or none where everything is open."""

    subject: str = field(repr=False)
    token: Token | None = None
    key: ApiKey | None = None

    @property
    def free(self) -> bool:
        """Whether nothing is asked of anybody."""
        return self.token is None and self.key is None

    def has(self, right: Right) -> bool:
        """Whether an API key gives the right; not those of room tokens."""
        return self.free or (self.key is not None and right in self.key.rights)

    def lacks(self, right: Right) -> str | None:
        return None if self.has(right) else f"This needs an API key with the right '{right}'."

    def lacks_publish(self, room: str, name: str) -> str | None:
        if missing := self._lacks_in_room(room, "canPublish"):
            return missing
        return None if self.token is None or self.subject == name else OTHER_NAME

    def lacks_watch(self, room: str) -> str | None:
        return self._lacks_in_room(room, "canSubscribe")

    def lacks_membership(self, room: str) -> str | None:
        """Of whoever is, or may be, in the room."""
        return self._lacks_in_room(room, "roomJoin")

    def lacks_view(self, room: str) -> str | None:
        """To see who is in the room, and their figures."""
        return None if self.has("observe") else self._lacks_in_room(room, "roomJoin")

    def lacks_bank(self, room: str, name: str) -> str | None:
        """To see the faces that are known in a participant's picture."""
        if self.has("people"):
            return None
        if (missing := self._lacks_in_room(room, "roomJoin")) or self.token is None:
            return missing
        mine = self.subject == name or self.token.grant.admin
        return None if mine else "Only one's own faces are shown, or everybody's with roomAdmin."

    def lacks_photos(self, person: str) -> str | None:
        """To see, register and delete a person's photos."""
        if self.has("people"):
            return None
        if self.token is None or self.subject != person:
            return OTHERS_PHOTOS
        return GUEST if self.token.guest else None

    def lacks_use_of(self, person: str) -> str | None:
        """To publish a stream that uses a person's photos."""
        if self.token is not None and person in self.token.persons:
            return None
        return self.lacks_photos(person)

    def lacks_minting(self, room: str | None = None) -> str | None:
        """To make tokens. room: None where it is not known yet."""
        if self.token is None:
            return self.lacks("tokens")
        if not self.token.grant.admin:
            return "This needs roomAdmin, or an API key with the right 'tokens'."
        return None if room in (None, self.token.grant.room) else OTHER_ROOM

    def _lacks_in_room(self, room: str, right: str) -> str | None:
        if self.free:
            return None
        if self.token is None:
            return NO_ROOM
        grant = self.token.grant
        if grant.room != room:
            return OTHER_ROOM
        if not grant.join:
            return "The token lacks roomJoin."
        given = {"roomJoin": grant.join, "canPublish": grant.publish, "canSubscribe": grant.watch}
        return None if given[right] else f"The token lacks {right}."
