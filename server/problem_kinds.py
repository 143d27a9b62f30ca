"""The kinds of problem that the relay answers with: what `type` of a problem body names (RFC 9457, section 3.1.1).

A kind's name never changes, so that whoever asks may act on it, or say it in another language:
`client_web/src/strings/` has words for each. It always comes with the same status, but for `invalid-fragment`, which is
400 or 422.
"""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    # any request
    "invalid-request",
    "no-such-path",
    "method-not-allowed",
    "internal-error",
    "exhausted",
    "no-worker",
    "wrong-host",
    "wrong-origin",
    "too-many-connections",
    "too-often",
    "body-too-slow",
    "body-too-large",
    "invalid-body",
    "wrong-media-type",
    # who asks
    "token-missing",
    "token-invalid",
    "key-invalid",
    "not-local",
    "forbidden",
    "other-room",
    "other-name",
    "others-photos",
    "guest-without-photos",
    "no-tokens",
    # calls
    "draining",
    "relay-full",
    "room-full",
    "participant-full",
    "too-many-views",
    "no-port",
    "invalid-offer",
    "offer-too-large",
    "too-many-candidates",
    "too-many-persons",
    "name-taken",
    "no-such-participant",
    "session-ended",
    "invalid-fragment",
    "precondition-required",
    "precondition-failed",
    # photos
    "consent-missing",
    "unknown-wording",
    "wrong-number-of-photos",
    "photo-too-large",
    "photo-too-many-pixels",
    "photo-too-many-scans",
    "not-a-photo",
    "no-usable-photo",
    "different-people",
    "photos-full",
    "photos-busy",
    "photos-unavailable",
    "no-detector",
    "no-such-photo",
    # figures
    "figures-by-minute",
    "figures-unavailable",
]
KINDS: tuple[str, ...] = get_args(Kind)


def type_of(kind: Kind | None) -> str:
    """The URI reference, relative to the relay itself, which cannot know under what address it is reached."""
    return "about:blank" if kind is None else f"/problems/{kind}"
