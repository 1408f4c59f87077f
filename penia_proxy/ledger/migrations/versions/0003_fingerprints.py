"""Fingerprints of calls whose request id their caller chose, and the key they are made with."""

import os

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and draw this ledger's key."""
    op.add_column("holds", sa.Column("fingerprint", sa.Text, nullable=True))
    secrets = op.create_table(
        "secrets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(secrets, [{"name": "fingerprints", "value": os.urandom(32).hex()}])
