"""Where photos are kept, how long, and the key that they are encrypted with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import fsspec
from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from server.settings.keys import parse_keys

DATABASES = ("sqlite", "postgresql")


class StorageSettings(BaseModel):
    """Of the photos that are registered over REST."""

    data: Path = Field(Path("data"), description="directory of the embedded database and files")
    database_url: str = Field(
        "", description="SQLAlchemy URL of SQLite or PostgreSQL; SQLite in the data directory when empty"
    )
    photos_url: str = Field("", description="fsspec URL; files in the data directory when empty")
    data_key: SecretStr = Field(
        SecretStr(""), description="key that photos are encrypted with; several, newest first, by commas"
    )
    data_key_file: Path | None = Field(
        None, description="file with such keys; without either, a key is made once in the data directory"
    )
    audit_days: int = Field(1095, ge=1, description="how long the audit log keeps an entry")
    exemplar_expires_days: int = Field(
        365, ge=1, le=3650, description="how long a photo is kept whose registration does not say"
    )
    purge_interval_s: float = Field(300, gt=0, description="between two looks for photos that have expired")

    @field_validator("database_url")
    @classmethod
    def _is_database_url(cls, url: str) -> str:
        if url:
            try:
                address = make_url(url)
            except ArgumentError:
                raise ValueError("not an SQLAlchemy URL such as sqlite:///data/hime.db") from None
            backend = address.get_backend_name()
            if backend not in DATABASES:
                raise ValueError(f"a database of {' or '.join(DATABASES)} is needed, not of {backend}")
            if backend == "sqlite" and address.database in (None, "", ":memory:"):
                raise ValueError("SQLite needs a file, as in sqlite:///data/hime.db")
        return url

    @field_validator("photos_url")
    @classmethod
    def _is_files_url(cls, url: str) -> str:
        protocol, separator, _ = url.partition("://")
        if url and (not separator or protocol not in fsspec.available_protocols()):
            raise ValueError("not an fsspec URL such as file:///srv/hime/photos or s3://bucket/photos")
        return url

    @field_validator("data_key")
    @classmethod
    def _holds_keys(cls, keys: SecretStr) -> SecretStr:
        if keys.get_secret_value():
            parse_keys(keys.get_secret_value())
        return keys

    @field_validator("data_key_file")
    @classmethod
    def _is_the_only_one(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None and (key := info.data.get("data_key")) and key.get_secret_value():
            raise ValueError("HIME_DATA_KEY is given as well; give one of the two")
        return file

    @cached_property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data.resolve() / 'hime.db'}"

    @cached_property
    def photos(self) -> str:
        """The fsspec URL of the photos' directory."""
        return self.photos_url or f"file://{self.data.resolve() / 'photos'}"
