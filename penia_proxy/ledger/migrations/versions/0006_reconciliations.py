"""Reconciliations with what providers billed, and an index that finds what corrects a record."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the index."""
    op.create_table(
        "reconciliations",
        sa.Column("reconciliation_id", sa.Text, primary_key=True),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("first_day", sa.Text, nullable=False),
        sa.Column("last_day", sa.Text, nullable=False),
        sa.Column("is_whole", sa.Boolean, nullable=False),
        sa.Column("billed_nanos", sa.BigInteger, nullable=False),
        sa.Column("captured_nanos", sa.BigInteger, nullable=False),
        sa.Column("lines", sa.JSON, nullable=False),
    )
    op.create_index("reconciliations_newest", "reconciliations", ["created_at"])
    corrects = sa.text("corrects IS NOT NULL")
    op.create_index(
        "usage_records_corrects", "usage_records", ["corrects"], sqlite_where=corrects, postgresql_where=corrects
    )
