"""What can be set about the relay: `HIME_*` environment variables, or the options of `hime serve`."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import fsspec
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from hime_core.errors import InputError

CLIENT_BUILD = Path(__file__).resolve().parents[1] / "client_web" / "dist"


class InvalidSettings(InputError):
    """A setting is wrong; the message is one line that names it."""


class IceServer(BaseModel):
    """A STUN or TURN server, as in WebRTC's `RTCIceServer`."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None

    @field_validator("urls", mode="before")
    @classmethod
    def _one_or_many(cls, urls: Any) -> Any:
        return [urls] if isinstance(urls, str) else urls

    @field_validator("urls")
    @classmethod
    def _known_schemes(cls, urls: list[str]) -> list[str]:
        if not urls or not all(url.startswith(("stun:", "stuns:", "turn:", "turns:")) for url in urls):
            raise ValueError("an ICE server's URL begins with stun:, stuns:, turn: or turns:")
        return urls


class Settings(BaseSettings):
    """The relay's settings. Rates are in bit/s, sizes in bytes or pixels, the rest as the names say."""

    model_config = SettingsConfigDict(env_prefix="HIME_", frozen=True, validate_default=True)

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    data: Path = Field(Path("data"), description="directory of the embedded database and files")
    database_url: str = Field("", description="SQLAlchemy URL; SQLite in the data directory when empty")
    photos_url: str = Field("", description="fsspec URL; files in the data directory when empty")
    client: Path = Field(CLIENT_BUILD, description="the built web client")

    weights: str = Field(
        "auto",
        min_length=1,
        description="a bundled checkpoint's name, or a file; auto: tiny-x4-call on a CPU, else small-x4-call",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
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

    video_min_bitrate: int = Field(300_000, ge=50_000)
    video_start_bitrate: int = Field(2_000_000, ge=50_000)
    video_max_bitrate: int = Field(4_000_000, le=50_000_000)
    video_codec: Literal["auto", "vp8", "h264"] = Field(
        "auto", description="for watchers who take both; auto: H264 where a graphics card encodes it, else VP8"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins of other sites whose pages may use the API, commas between; none unless given"
    )
    ice_servers: Annotated[tuple[IceServer, ...], NoDecode] = ()

    max_photos: int = Field(10, ge=1, le=100, description="photos in one request")
    max_photos_per_person: int = Field(64, ge=1)
    max_photo_bytes: int = Field(10_000_000, ge=1)
    max_photo_pixels: int = Field(40_000_000, ge=1)
    exemplar_expires_days: int = Field(365, ge=1, le=3650)
    purge_interval_s: float = Field(300, gt=0)

    @field_validator("database_url")
    @classmethod
    def _is_database_url(cls, url: str) -> str:
        if url:
            try:
                make_url(url)
            except ArgumentError:
                raise ValueError("not an SQLAlchemy URL such as sqlite:///data/hime.db") from None
        return url

    @field_validator("photos_url")
    @classmethod
    def _is_files_url(cls, url: str) -> str:
        protocol, separator, _ = url.partition("://")
        if url and (not separator or protocol not in fsspec.available_protocols()):
            raise ValueError("not an fsspec URL such as file:///srv/hime/photos or s3://bucket/photos")
        return url

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return [origin.strip() for origin in value.split(",") if origin.strip()] if isinstance(value, str) else value

    @field_validator("ice_servers", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Takes JSON as RTCIceServer has it, or URLs with commas between."""
        if not isinstance(value, str):
            return value
        if not value.lstrip().startswith("["):
            return [{"urls": [url.strip()]} for url in value.split(",") if url.strip()]
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error})") from None

    @model_validator(mode="after")
    def _bitrates_in_order(self) -> Settings:
        if not self.video_min_bitrate <= self.video_start_bitrate <= self.video_max_bitrate:
            raise ValueError("the bitrates must rise: video_min_bitrate <= video_start_bitrate <= video_max_bitrate")
        return self

    @cached_property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data.resolve() / 'hime.db'}"

    @cached_property
    def photos(self) -> str:
        """The fsspec URL of the photos' directory."""
        return self.photos_url or f"file://{self.data.resolve() / 'photos'}"


def load_settings(**options: Any) -> Settings:
    """Settings from the environment; options that are not None come first.

    Raises InvalidSettings with one line that names the setting and what would be right.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        field = str(first["loc"][0]) if first["loc"] else ""
        name = f"--{field.replace('_', '-')}" if field in given else f"HIME_{field.upper()}"
        raise InvalidSettings(f"{name}: {message}" if field else message) from None
