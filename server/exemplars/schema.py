"""The tables. migrations/ makes them; a test holds both together."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, Integer, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PSEUDONYMS = "pseudonyms"  # the name of the secret that names are hashed with


class Base(DeclarativeBase):
    pass


class PhotoRow(Base):
    """One photo. Times are Unix seconds; person is a pseudonym.

    All that describes the face (box, headshot, landmarks, quality) is in `sealed`. key: the id of the key that the file
    and `sealed` are encrypted with, empty for a file that an earlier version left unencrypted.
    A row counts once it is `stored`, and as long as it has not expired; deleting it begins with letting it expire.
    """

    __tablename__ = "photos"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    person: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double, index=True)
    stored: Mapped[bool]
    key: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class SecretRow(Base):
    """A key that is needed by the database's side, sealed."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class AuditRow(Base):
    """Who did what with whose photos. actor and person are pseudonyms; terms: of a consent."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    time: Mapped[float] = mapped_column(Double, index=True)
    action: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(64))
    person: Mapped[str] = mapped_column(String(64), index=True)
    exemplar: Mapped[str | None] = mapped_column(String(64))
    terms: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
