"""Where photos are kept, and how long."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import fsspec
from pydantic import BaseModel, Field, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


class StorageSettings(BaseModel):
    """Of the photos that are registered over REST."""

    data: Path = Field(Path("data"), description="directory of the embedded database and files")
    database_url: str = Field("", description="SQLAlchemy URL; SQLite in the data directory when empty")
    photos_url: str = Field("", description="fsspec URL; files in the data directory when empty")
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

    @cached_property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data.resolve() / 'hime.db'}"

    @cached_property
    def photos(self) -> str:
        """The fsspec URL of the photos' directory."""
        return self.photos_url or f"file://{self.data.resolve() / 'photos'}"
