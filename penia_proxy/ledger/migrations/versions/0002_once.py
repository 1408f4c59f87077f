"""Once-keys: the provider's own name of work whose bill more than one answer can state."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the keys, and the index that keeps a bill from counting twice."""
    for table in ("usage_records", "holds"):
        op.add_column(table, sa.Column("once_key", sa.Text, nullable=True))
    keyed = sa.text("once_key IS NOT NULL")
    op.create_index(
        "usage_records_once",
        "usage_records",
        ["once_key"],
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )
