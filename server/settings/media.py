"""What becomes of faces and pictures."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator


class MediaSettings(BaseModel):
    """Of the enhancement and of video. Rates are in bit/s."""

    weights: str = Field(
        "auto",
        min_length=1,
        description="a bundled checkpoint's name, or a file; auto: tiny-x4-call on a CPU, else small-x4-call",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="what faces are enhanced on; auto: a graphics card where there is one"
    )
    identity_weights: str = Field(
        "",
        description="recognises faces: a .safetensors file of ours, a state dict of InceptionResnetV1, 'casia' or an "
        "https URL with #sha256=; what comes with the package when empty",
    )
    references: int = Field(3, ge=1, le=3, description="exemplars that a face is enhanced with at most")
    frame_deadline_ms: float = Field(120, gt=0, le=1000, description="age at which a frame leaves without waiting on")
    remember_s: float = Field(
        120,
        ge=0,
        le=3600,
        description="how long the people of a stream are known after it has ended; 0: not at all",
    )
    video_min_bitrate: int = Field(
        300_000, ge=50_000, description="of a watched picture; a path with less lowers it no more"
    )
    video_start_bitrate: int = Field(
        2_000_000, ge=50_000, description="of a picture before its path is known, sent or watched"
    )
    video_max_bitrate: int = Field(4_000_000, le=50_000_000, description="of a watched picture, however good the path")
    video_codec: Literal["auto", "vp8", "h264"] = Field(
        "auto", description="for watchers who take both; auto: H264 where a graphics card encodes it, else VP8"
    )

    video_decoder: Literal["cpu", "auto"] = Field(
        "cpu",
        description="what decodes published video; auto: a graphics card where it can, which tells nothing of how "
        "coarsely H264 was quantized",
    )

    @model_validator(mode="after")
    def _bitrates_in_order(self) -> Self:
        if not self.video_min_bitrate <= self.video_start_bitrate <= self.video_max_bitrate:
            raise ValueError("the bitrates must rise: video_min_bitrate <= video_start_bitrate <= video_max_bitrate")
        return self
