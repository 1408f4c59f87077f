"""An index that finds the alerts that are not resolved."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index: of many alerts few are open."""
    is_open = sa.text("resolved_at IS NULL")
    op.create_index("alerts_open", "alerts", ["window_end"], sqlite_where=is_open, postgresql_where=is_open)
