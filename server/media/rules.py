"""What one session may ask of the relay."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.limits.rates import Count, uncounted
from server.media.candidates import CandidateRules
from server.media.receive.gate import FrameRules


class TooMany(ValueError):
    """A session has used up what it may; the message says what, and how much that is."""


@dataclass(frozen=True)
class SessionRules:
    """patches: requests with trickled candidates. connect_timeout: seconds from the answer to the first sign of life;
    media_timeout: without a packet, after which a publisher is lost. refused: counts what is left out."""

    candidates: CandidateRules = field(default_factory=CandidateRules)
    frames: FrameRules = field(default_factory=FrameRules)
    patches: int = 100
    connect_timeout: float = 15.0
    media_timeout: float = 4.0
    refused: Count = uncounted
