"""Other names of a bill: the file with a batch's results, for the batch."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "other_names",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("once_key", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
