"""Rollups folded into days and more. What there is already is folded by the running gateway, in steps."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = ("hour", "component", "provider", "model", "task_type")
MEASURES = (
    "request_count",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanos",
    "unpriced_count",
)


def upgrade() -> None:
    """Create the tables, with nothing folded."""
    for name, key in (("folds", ("span", *KEY[1:])), ("folds_by_name", ("grouping", "span", "name"))):
        op.create_table(
            name,
            *(sa.Column(column, sa.Text, primary_key=True) for column in key),
            *(sa.Column(column, sa.BigInteger, nullable=False) for column in MEASURES),
            sqlite_with_rowid=False,
        )
    table = op.create_table("folded_until", *(sa.Column(column, sa.Text, primary_key=True) for column in KEY))
    op.bulk_insert(table, [dict.fromkeys(KEY, "")])
