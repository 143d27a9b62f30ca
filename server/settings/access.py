"""Who may use the relay, and from which pages."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode


class AccessSettings(BaseModel):
    """Who is let in. Without keys, a relay serves its own machine alone, and asks nobody for a token."""

    api_keys: SecretStr = Field(SecretStr(""), description="name:secret, commas between; each has all rights")
    api_keys_file: str = Field("", description="a file with name:secret or name:secret:rights a line; see hime key")
    token_secret: SecretStr = Field(
        SecretStr(""),
        description="of hashed keys' tokens, 32 characters at least; made once in the data directory when empty",
    )
    open: bool = Field(False, description="whether a relay without keys may be used from other machines, by everybody")

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins of other sites whose pages may use the API, commas between; none unless given"
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return [origin.strip() for origin in value.split(",") if origin.strip()] if isinstance(value, str) else value
