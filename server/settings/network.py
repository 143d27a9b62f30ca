"""STUN and TURN servers."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, field_validator
from pydantic_settings import NoDecode


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


class NetworkSettings(BaseModel):
    """How media find their way."""

    ice_servers: Annotated[tuple[IceServer, ...], NoDecode] = ()

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
        except RecursionError:
            raise ValueError("not a list of ICE servers: it is nested too deeply") from None
