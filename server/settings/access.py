"""Who may use the relay, and from which pages."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from server.settings.quoting import quoted

# A host name, or one with `*.` before it for every name below; no port, as the relay is the same at each.
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
# As a browser names it (RFC 6454, section 6.2): what follows the host would never be met.
_ORIGIN = re.compile(rf"\*|[a-z][a-z0-9+.-]*://(?:{_HOST.pattern}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?")


class AccessSettings(BaseModel):
    """Who is let in. Without keys, a relay serves its own machine alone, and asks nobody for a token."""

    api_keys: SecretStr = Field(SecretStr(""), description="name:secret, commas between; each has all rights")
    api_keys_file: str = Field("", description="a file with name:secret or name:secret:rights a line; see hime key")
    token_secret: SecretStr = Field(
        SecretStr(""),
        description="of hashed keys' tokens, 32 characters at least; made once in the data directory when empty",
    )
    open: bool = Field(False, description="whether a relay without keys may be used from other machines, by everybody")

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="names that the relay is reached by, commas between, such as call.example.org or *.example.org"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins of other sites whose pages may use the API, commas between, such as https://example.org, "
        "or https://*.example.org for all names below; none unless given",
    )

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(name.lower().rstrip(".") for name in names)
        for name in lower:
            if not _HOST.fullmatch(name):
                raise ValueError(f"{quoted(name)} is no host name: neither scheme nor port, as in call.example.org")
        return lower

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(origin.lower() for origin in origins)
        for origin in lower:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{quoted(origin)} is no origin: scheme, host and port alone, as https://example.org")
        return lower
