"""Grants, requests for approval, refusals, and what a verdict was made of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FORBID = """
CREATE TRIGGER grants_no_{verb} BEFORE {verb} ON grants
BEGIN SELECT RAISE(ABORT, 'grants is append-only'); END
"""


def upgrade() -> None:
    """Add the tables and the columns."""
    for table in ("usage_records", "holds"):
        op.add_column(table, sa.Column("words", sa.Text, nullable=True))
    op.create_table(
        "approvals",
        sa.Column("approval_id", sa.Text, primary_key=True),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=False),
        *_text("period", "window_start"),
        *_text("window_end", null=True),
        *_text("state", "asked_at", "component", "provider", "model", "request_id"),
        *_counts("amount_nanos", "refused_calls"),
        *_text("last_refused_at"),
        *_text("decided_at", "reason", null=True),
    )
    op.create_index("approvals_newest", "approvals", ["asked_at"])
    op.create_index("approvals_state", "approvals", ["state", "asked_at"])
    op.create_table(
        "grants",
        sa.Column("grant_id", sa.Text, primary_key=True),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=False),
        *_text("period"),
        *_counts("amount_nanos"),
        *_text("reason", "granted_at"),
        *_text("expires_at", null=True),
        sa.Column("approval_id", sa.Text, sa.ForeignKey("approvals.approval_id"), nullable=True),
    )
    op.create_index("grants_newest", "grants", ["budget_id", "granted_at"])
    for verb in ("UPDATE", "DELETE"):
        op.execute(FORBID.format(verb=verb))
    _refusals()


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        *_text("request_id", "at", "component", "provider", "model", "code", "message"),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), nullable=False),
        *_counts("amount_nanos"),
        *_text("words"),
        *_text("approval_id", null=True),
        *_counts("not_kept"),
        sqlite_autoincrement=True,
    )
    for column in ("request_id", "component", "budget_id", "code"):
        op.create_index(f"refusals_{column}", "refusals", [column, "seq"])


def _text(*names: str, null: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=null) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
