"""Who may use the relay, and from which pages."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode


class AccessSettings(BaseModel):
    """Who is let in."""

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins of other sites whose pages may use the API, commas between; none unless given"
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return [origin.strip() for origin in value.split(",") if origin.strip()] if isinstance(value, str) else value
