"""Photos in the clear, as databases had them before there were migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "exemplars",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("person", sa.String(), nullable=False, index=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("consent_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False, index=True),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.Column("box", sa.JSON(), nullable=False),
        sa.Column("headshot", sa.JSON(), nullable=False),
        sa.Column("landmarks", sa.JSON(), nullable=False),
        sa.Column("sharpness", sa.Double(), nullable=False),
        sa.Column("yaw", sa.Double(), nullable=False),
        sa.Column("light", sa.Double(), nullable=False),
    )
