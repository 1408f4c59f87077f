"""The first tables: budgets, usage records, charges, holds, spend, rollups, alerts, audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")

FORBID = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""


def upgrade() -> None:
    """Build everything."""
    _budgets()
    _usage_records()
    _charges()
    _holds()
    _counters()
    _alerts()
    _audit_log()
    for table in ("usage_records", "charges", "audit_log"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(FORBID.format(table=table, verb=verb))


def _text(*names: str, null: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=null) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _limits(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, REAL, nullable=True) for name in names]


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("budget_id", sa.Text, primary_key=True),
        *_text("name"),
        *_limits("hourly_limit", "daily_limit", "weekly_limit", "monthly_limit", "total_limit"),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        *_text("created_at", "updated_at"),
    )


def _usage_records() -> None:
    op.create_table(
        "usage_records",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("record_id", sa.Text, nullable=False, unique=True),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=True),
        *_text("component", "provider", "model"),
        *_text("task_type", "request_id", null=True),
        *_counts("input_tokens", "cache_read_tokens", "cache_write_tokens"),
        *_counts("output_tokens", "reasoning_tokens", "total_tokens"),
        sa.Column("input_cost_nanos", sa.BigInteger, nullable=True),
        sa.Column("cost_nanos", sa.BigInteger, nullable=True),
        sa.Column("cost", REAL, sa.Computed("cost_nanos / 1000000000.0")),
        *_text("cost_basis"),
        *_text("pricing_version", null=True),
        sa.Column("estimated_nanos", sa.BigInteger, nullable=True),
        sa.Column("streamed", sa.Boolean, nullable=False),
        *_text("status"),
        sa.Column("latency_ms", REAL, nullable=True),
        sa.Column("ttft_ms", REAL, nullable=True),
        *_text("timestamp"),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("usage", sa.JSON, nullable=False),
        sa.Column("corrects", sa.Text, sa.ForeignKey("usage_records.record_id"), nullable=True),
        *_text("fingerprint", null=True),
        sa.Column("metadata", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("usage_records_newest", "usage_records", ["timestamp"])
    for column in ("component", "provider", "model", "task_type", "cost_basis"):
        op.create_index(f"usage_records_{column}", "usage_records", [column, "timestamp"])


def _charges() -> None:
    op.create_table(
        "charges",
        sa.Column("record_seq", SEQ, sa.ForeignKey("usage_records.seq"), primary_key=True, autoincrement=False),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), primary_key=True),
        *_text("timestamp"),
        *_counts("position"),
        sqlite_with_rowid=False,
    )
    op.create_index("charges_newest", "charges", ["budget_id", "timestamp"])


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.Text, primary_key=True),
        *_text("admitted_at"),
        *_counts("amount_nanos"),
        sa.Column("budget_ids", sa.JSON, nullable=False),
        *_text("component", "provider", "model"),
        *_text("task_type", null=True),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("streamed", sa.Boolean, nullable=False),
        *_counts("input_tokens_estimated", "output_tokens_estimated"),
        *_text("pricing_version", null=True),
    )


def _counters() -> None:
    op.create_table(
        "spend",
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), primary_key=True),
        sa.Column("period", sa.Text, primary_key=True),
        sa.Column("window_start", sa.Text, primary_key=True),
        *_counts("spent_nanos", "input_tokens", "output_tokens", "request_count", "unpriced_count"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollups",
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("hour", "component", "provider", "model", "task_type")
        ),
        *_counts("request_count", "input_tokens", "cache_read_tokens", "cache_write_tokens"),
        *_counts("output_tokens", "reasoning_tokens", "cost_nanos", "unpriced_count"),
        sqlite_with_rowid=False,
    )


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.Text, primary_key=True),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=True),
        *_text("alert_type"),
        sa.Column("threshold_percent", REAL, nullable=True),
        *_text("period", null=True),
        *_text("severity", "title", "message"),
        sa.Column("is_dismissed", sa.Boolean, nullable=False),
        sa.Column("acknowledged", sa.Boolean, nullable=False),
        *_text("created_at"),
        sa.Column("details", sa.JSON, nullable=False),
    )
    op.create_index("alerts_newest", "alerts", ["created_at"])


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        *_text("at", "actor", "action", "subject"),
        sa.Column("details", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
