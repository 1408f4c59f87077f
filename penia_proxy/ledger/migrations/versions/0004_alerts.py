"""What makes an alert one, what was sent of it to whom, and settings that are changed while the process runs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the alerts anew, of which none was ever written, and add what is sent."""
    op.drop_table("alerts")
    op.create_table(
        "alerts",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("alert_id", sa.Text, nullable=False, unique=True),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=True),
        sa.Column("alert_type", sa.Text, nullable=False),
        sa.Column("threshold_percent", sa.Double().with_variant(sa.REAL(), "sqlite"), nullable=True),
        sa.Column("period", sa.Text, nullable=True),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("is_dismissed", sa.Boolean, nullable=False),
        sa.Column("acknowledged", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("resolved_at", sa.Text, nullable=True),
        sa.Column("window_start", sa.Text, nullable=True),
        sa.Column("window_end", sa.Text, nullable=True),
        sa.Column("once_key", sa.Text, nullable=False, unique=True),
        sa.Column("details", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("alerts_budget", "alerts", ["budget_id", "seq"])
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.Text, primary_key=True),
        sa.Column("alert_id", sa.Text, sa.ForeignKey("alerts.alert_id"), nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.Text, nullable=False),
        sa.Column("last_error", sa.Text, nullable=True),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("sent_at", sa.Text, nullable=True),
    )
    op.create_index("notifications_due", "notifications", ["state", "due_at"])
    op.create_index("notifications_alert", "notifications", ["alert_id"])
    op.create_table(
        "settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
