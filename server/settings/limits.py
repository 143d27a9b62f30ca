"""How much the relay takes, so that nobody's use of it is another's loss."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LimitSettings(BaseModel):
    """Each is refused with a problem body, and counted as `hime_refused_total`."""

    max_photos: int = Field(10, ge=1, le=100, description="photos in one request")
    max_photos_per_person: int = Field(64, ge=1)
    max_photo_bytes: int = Field(10_000_000, ge=1)
    max_photo_pixels: int = Field(40_000_000, ge=1)
