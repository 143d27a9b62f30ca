"""How much the relay takes, so that nobody's use of it is another's loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

# "auto", or a number that an environment variable gives as text.
Auto = Literal["auto"] | Annotated[int, Field(ge=1)]


class LimitSettings(BaseModel):
    """Each is refused with a problem body, and counted as `hime_refused_total`.

    The defaults suit a small team behind one network address, whose browsers all come back at once after a restart.
    """

    # --- rooms and sessions
    max_rooms: int = Field(100, ge=1, description="rooms that somebody is in, listens to or is remembered in")
    max_participants: int = Field(128, ge=1, description="who publish, in all rooms, sound alone included")
    max_participants_per_room: int = Field(32, ge=1, description="who publish in one room")
    max_streams: Auto = Field(
        "auto",
        description="published video in all; auto: what the processor carries with all streams passed through, by what "
        "they are measured to cost, and by its cores until then",
    )
    max_watchers: Auto = Field(
        "auto",
        description="watchers in all; auto: what published video leaves of the processor, eight for each at least",
    )
    max_watchers_per_participant: int = Field(64, ge=1, description="who watch one participant")
    max_views_per_participant: int = Field(
        12, ge=1, description="views, layouts and widths of one participant that are watched; each is encoded by itself"
    )
    max_listeners: int = Field(256, ge=1, description="event streams in all, the rooms' and the dashboard's")
    max_listeners_per_room: int = Field(64, ge=1, description="event streams of one room")
    max_checks: int = Field(32, ge=1, description="connections of the page's connection test in all, ten seconds each")
    max_remembered: int = Field(
        64, ge=0, description="participants in all who have left and are known should they come again"
    )
    sessions_per_minute: int = Field(600, ge=1, description="WHIP and WHEP offers from one address, as many at once")
    failed_tokens_per_minute: int = Field(60, ge=1, description="requests with a wrong token from one address")

    # --- media
    max_frame_pixels: int = Field(1920 * 1088, ge=16 * 16, description="larger pictures are not decoded")
    max_frame_rate: float = Field(60, ge=1, le=1000, description="frames per second; what comes faster is left out")
    max_size_changes: float = Field(
        2, gt=0, le=60, description="changes of a stream's size or codec per second; each costs a new decoder"
    )
    connect_timeout_s: float = Field(15, gt=0, le=120, description="from the answer to the first sign of life")
    media_timeout_s: float = Field(
        4, ge=1, le=120, description="without a packet or an answer, after which a publisher is lost"
    )
    first_media_timeout_s: float = Field(
        30, ge=1, le=300, description="from the answer to the first frame or sound that can be used"
    )

    # --- candidates and SDP
    max_candidates: int = Field(50, ge=1, le=500, description="of one session, offered and trickled ones together")
    max_patches: int = Field(100, ge=1, description="PATCH requests of one session")
    allow_local_candidates: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="whether peers may name loopback and link-local addresses; auto: loopback where the relay listens "
        "on loopback only",
    )
    max_sdp_bytes: int = Field(100_000, ge=1000, le=1_000_000, description="of an offer, or of trickled candidates")
    max_sdp_lines: int = Field(1000, ge=50, description="of an offer")
    max_sdp_sections: int = Field(8, ge=1, le=64, description="m= lines of an offer")

    # --- photos
    max_waiting_banks: int = Field(16, ge=1, description="requests for the exemplars in use; one is answered at a time")
    max_photos: int = Field(10, ge=1, le=100, description="photos in one request")
    max_photos_per_person: int = Field(64, ge=1, description="that are kept")
    max_photo_bytes: int = Field(10_000_000, ge=1, description="of one photo's file")
    max_photo_pixels: int = Field(40_000_000, ge=1, description="of one photo, by its header")
    uploads_per_minute: int = Field(60, ge=1, description="requests that register photos, from one address")
    uploads_per_person_per_minute: int = Field(20, ge=1, description="requests that register photos of one person")

    # --- HTTP
    max_connections: int = Field(512, ge=8, description="open HTTP connections, event streams included")
    max_connections_per_address: int = Field(
        128, ge=4, description="from one address other than loopback, where a proxy may be"
    )
    request_timeout_s: float = Field(
        15, gt=0, le=600, description="until a request's headers are there, and until its body begins to come"
    )
    min_body_rate: int = Field(4000, ge=1, description="bytes per second that a body must come with on average")
