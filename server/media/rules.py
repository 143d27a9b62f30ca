"""What one session may ask of the relay."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.limits.rates import Count, uncounted
from server.media.candidates import CandidateRules
from server.media.hardware import find_hardware
from server.media.receive.gate import FrameRules
from server.settings import Settings


class TooMany(ValueError):
    """A session has used up what it may; the message says what, and how much that is."""


@dataclass(frozen=True)
class SessionRules:
    """patches: requests with trickled candidates. connect_timeout: seconds from the answer to the first sign of life;
    media_timeout: without a packet or an answer, after which a publisher is lost. refused: counts what is left out."""

    candidates: CandidateRules = field(default_factory=CandidateRules)
    frames: FrameRules = field(default_factory=FrameRules)
    patches: int = 100
    connect_timeout: float = 15.0
    media_timeout: float = 4.0
    refused: Count = uncounted

    @classmethod
    def of(cls, settings: Settings, refused: Count) -> SessionRules:
        return cls(
            CandidateRules.of(settings.max_candidates, settings.allow_local_candidates, settings.loopback_only),
            FrameRules(
                settings.max_frame_pixels,
                settings.max_frame_rate,
                settings.max_size_changes,
                find_hardware() if settings.video_decoder == "auto" else None,
            ),
            settings.max_patches,
            settings.connect_timeout_s,
            settings.media_timeout_s,
            refused,
        )
