"""
Rollups by cost basis and by the budgets that were charged.

What there is already is added up from the records, a day at a time. Folds by these are made by the running gateway.
"""

import json
import logging
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from penia_proxy.clock import SystemClock

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)

SAY_S = 5.0
"""Between two lines in the log."""
NAMES = ("component", "provider", "model", "task_type")
KEY = ("hour", *NAMES, "cost_basis", "set_id")
SET = KEY.index("set_id")
MEASURES = (
    "record_count",
    "request_count",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanos",
    "unpriced_count",
)
# By the index of instants, so that a day costs what is in it.
OF_A_DAY = """
SELECT substr(timestamp, 1, 14) || '00:00.000000Z', component, provider, model, coalesce(task_type, ''), cost_basis,
  (SELECT json_group_array(budget_id) FROM (SELECT budget_id FROM charges WHERE record_seq = seq ORDER BY budget_id)),
  count(*), sum(corrects IS NULL), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
  sum(output_tokens), sum(reasoning_tokens), sum(coalesce(cost_nanos, 0)),
  sum(CASE cost_basis WHEN 'unpriced' THEN 1 WHEN 'repriced' THEN -1 ELSE 0 END)
FROM usage_records INDEXED BY usage_records_newest
WHERE timestamp >= ? AND timestamp < ? || 'U'
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


def upgrade() -> None:
    """Make the tables anew, and fill the first of them."""
    bind = op.get_bind()
    days = [day for (day,) in bind.exec_driver_sql("SELECT DISTINCT substr(hour, 1, 10) FROM rollups ORDER BY 1")]
    for name in ("rollups", "folds", "folds_by_name", "folded_until"):
        op.drop_table(name)
    op.create_table(
        "budget_sets",
        sa.Column("set_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("budget_sets_of", "budget_sets", ["budget_id", "set_id"])
    _create("rollups", KEY, MEASURES)
    _create("folds", ("budget_id", "cost_basis", "span", *NAMES), MEASURES)
    _create("folds_by_name", ("budget_id", "cost_basis", "grouping", "span", "name"), MEASURES)
    until = _create("folded_until", KEY)
    op.bulk_insert(until, [dict.fromkeys(KEY, "") | {"set_id": 0}])
    _fill(bind, days)


def _create(name: str, key: Sequence[str], measures: Sequence[str] = ()) -> sa.Table:
    return op.create_table(
        name,
        *(
            sa.Column(column, sa.BigInteger if column == "set_id" else sa.Text, primary_key=True, autoincrement=False)
            for column in key
        ),
        *(sa.Column(column, sa.BigInteger, nullable=False) for column in measures),
        sqlite_with_rowid=not measures,
    )


def _fill(bind: sa.Connection, days: Sequence[str]) -> None:
    """Add up the records of some days."""
    clock = SystemClock()
    sets = {"[]": 0}
    into = f"INSERT INTO rollups VALUES ({', '.join('?' * (len(KEY) + len(MEASURES)))})"  # noqa: S608
    said = clock.monotonic()
    for done, day in enumerate(days):
        rows = bind.exec_driver_sql(OF_A_DAY, (day, day)).all()
        found = [(*row[:SET], sets.setdefault(row[SET], len(sets)), *row[SET + 1 :]) for row in rows]
        bind.exec_driver_sql(into, found)
        if clock.monotonic() > said + SAY_S:
            said = clock.monotonic()
            log.info("adding the ledger up by basis and budget, once: %d of %d days", done + 1, len(days))
    members = [(number, name) for names, number in sets.items() for name in json.loads(names)]
    if members:
        bind.exec_driver_sql("INSERT INTO budget_sets VALUES (?, ?)", members)
