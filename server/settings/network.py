"""Ports, addresses, STUN and TURN servers."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from server.settings.quoting import quoted

# RFC 7064 and RFC 7065. An IPv6 address stands in brackets; aioice resolves IPv4 and names only.
ICE_URL = re.compile(
    r"(?:stuns?:(?P<stun>[^\s?:/\[\]]+)(?::(?P<stun_port>\d+))?)"
    r"|(?:turns?:(?P<turn>[^\s?:/\[\]]+)(?::(?P<turn_port>\d+))?(?:\?transport=(?:udp|tcp))?)"
)
PORTS = re.compile(r"(\d+)(?:-(\d+))?")


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
    def _are_ice_urls(cls, urls: list[str]) -> list[str]:
        for url in urls or [""]:
            found = ICE_URL.fullmatch(url)
            port = found and (found["stun_port"] or found["turn_port"])
            if not found or (port and not 0 < int(port) < 65536):
                raise ValueError(
                    f"{quoted(url)} is not an ICE server's URL such as stun:stun.example.org:3478 or "
                    "turns:turn.example.org:5349?transport=tcp"
                )
        return urls


class NetworkSettings(BaseModel):
    """How media find their way."""

    ice_servers: Annotated[tuple[IceServer, ...], NoDecode] = Field(
        (), description="STUN and TURN servers: URLs with commas between, or JSON as RTCIceServer has it"
    )
    turn_secret: SecretStr = Field(
        SecretStr(""),
        description="what coturn has as static-auth-secret, with use-auth-secret: credentials are made of it for each "
        "join, for the TURN servers that have none",
    )
    turn_minutes: int = Field(480, ge=1, le=1440, description="how long a joiner's TURN credentials can be used")
    udp_ports: str = Field(
        "", description="of media: first-last for a port each session, or one port for all; any free ones when empty"
    )
    announced_address: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="IP addresses under which the world reaches this machine's own, commas between (1:1 NAT)"
    )

    reconnect_s: float = Field(
        30,
        ge=0,
        le=300,
        description="how long watchers wait for a publisher whose network is lost; 0: their sessions end at once",
    )

    @field_validator("udp_ports")
    @classmethod
    def _are_ports(cls, value: str) -> str:
        if value:
            found = PORTS.fullmatch(value.strip())
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
            if not 1024 <= first <= last <= 65535:
                raise ValueError("not a range such as 50000-50100, or one port such as 50000, from 1024 to 65535")
        return value.strip()

    @field_validator("announced_address", mode="before")
    @classmethod
    def _by_commas(cls, value: Any) -> Any:
        return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value

    @field_validator("announced_address")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ip_address(address)
            except ValueError:
                raise ValueError(f"{quoted(address)} is not an IP address such as 203.0.113.7 or 2001:db8::7") from None
        return addresses

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last UDP port of media; 0 and 0 for any free ones."""
        found = PORTS.fullmatch(self.udp_ports)
        return (int(found[1]), int(found[2] or found[1])) if found else (0, 0)

    @field_validator("ice_servers", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Takes JSON as RTCIceServer has it, or URLs with commas between; of a file, a list of either."""
        if isinstance(value, list):
            return [{"urls": [one]} if isinstance(one, str) else one for one in value]
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
