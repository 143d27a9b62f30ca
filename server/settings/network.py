"""STUN and TURN servers."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode


def is_turn(url: str) -> bool:
    """Whether it is a TURN server's, which asks for credentials; STUN does not."""
    return url.startswith(("turn:", "turns:"))


class IceServer(BaseModel):
    """A STUN or TURN server, as in WebRTC's `RTCIceServer`."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None

    @property
    def has_turn(self) -> bool:
        return any(is_turn(url) for url in self.urls)

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


class NetworkSettings(BaseModel):
    """How media find their way."""

    ice_servers: Annotated[tuple[IceServer, ...], NoDecode] = ()
    turn_secret: SecretStr = Field(
        SecretStr(""),
        description="what coturn has as static-auth-secret, with use-auth-secret: credentials are made of it for each "
        "join, for the TURN servers that have none",
    )
    turn_minutes: int = Field(480, ge=1, le=1440, description="how long a joiner's TURN credentials can be used")

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
