"""Rows are sealed, people stand under pseudonyms, and there is an audit log. Files are sealed after this, by
server/exemplars/rotation.py."""

import json
import secrets
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from server.exemplars.cipher import Keyring, Pseudonyms

revision = "0002"
down_revision = "0001"

FACE = ("box", "headshot", "landmarks", "sharpness", "yaw", "light")


def upgrade() -> None:
    photos = op.create_table(
        "photos",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("person", sa.String(64), nullable=False, index=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False, index=True),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
    )
    sealed_secrets = op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
    )
    audit = op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("time", sa.Double(), nullable=False, index=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("person", sa.String(64), nullable=False, index=True),
        sa.Column("exemplar", sa.String(64)),
        sa.Column("terms", sa.JSON(none_as_null=True)),
    )
    keyring: Keyring = context.config.attributes["keyring"]
    key = secrets.token_bytes(32)
    pseudonyms = Pseudonyms(key)
    connection = op.get_bind()
    connection.execute(
        sealed_secrets.insert(), {"name": "pseudonyms", "sealed": keyring.seal(key, "secret:pseudonyms")}
    )
    columns: list[sa.ColumnClause[Any]] = [
        *(sa.column(name) for name in ("id", "person", "created_at", "consent_at", "expires_at", *FACE[3:])),
        *(sa.column(name, sa.JSON()) for name in FACE[:3]),
        sa.column("stored", sa.Boolean()),
    ]
    for row in connection.execute(sa.select(*columns).select_from(sa.table("exemplars"))):
        person = pseudonyms.of(row.person)
        face = json.dumps({name: getattr(row, name) for name in FACE}).encode()
        connection.execute(
            photos.insert(),
            {
                "id": row.id,
                "person": person,
                "created_at": row.created_at,
                "expires_at": row.expires_at,
                "stored": row.stored,
                "key": "",
                "sealed": keyring.seal(face, f"face:{row.id}:{person}"),
            },
        )
        if row.stored and row.expires_at > 0:
            consent = {
                "time": row.consent_at,
                "action": "consent",
                "actor": pseudonyms.of("anonymous"),
                "person": person,
                "exemplar": row.id,
                "terms": {"expires_at": row.expires_at, "wording": "api-1"},
            }
            connection.execute(audit.insert(), consent)
    op.drop_table("exemplars")
