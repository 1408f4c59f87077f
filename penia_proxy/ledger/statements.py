"""
Keep the writer's statements.

Its one job: SQLAlchemy Core constructs, compiled once to SQL text with named parameters, which stdlib sqlite3 executes
for a whole batch at a time (measured: five times the throughput of one awaited statement after another).
Rule: no SQL is put together from values.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement, and_

from penia_proxy.ledger.rows import MEASURES, TALLIED
from penia_proxy.ledger.schema import audit_log, budgets, charges, holds, rollups, secrets, spend, usage_records

_DIALECT = sqlite.dialect(paramstyle="named")


def _sql(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=_DIALECT))


def _insert(table: Table, *without: str) -> Any:
    names = [column.name for column in table.columns if column.name not in without]
    return sqlite.insert(table).values({name: bindparam(name) for name in names})


def _add(table: Table, sums: Sequence[str]) -> str:
    """Insert a counter, or add to the one that is there."""
    statement = _insert(table)
    return _sql(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={name: table.c[name] + statement.excluded[name] for name in sums},
        )
    )


def _save_budget() -> str:
    statement = _insert(budgets)
    kept = ("budget_id", "created_at")
    changed = {column.name: statement.excluded[column.name] for column in budgets.c if column.name not in kept}
    return _sql(statement.on_conflict_do_update(index_elements=["budget_id"], set_=changed))


INSERT_HOLD = _sql(_insert(holds))
DELETE_HOLD = _sql(delete(holds).where(holds.c.hold_id == bindparam("hold_id")))
DEFER_HOLD = _sql(update(holds).where(holds.c.hold_id == bindparam("its_id")).values(once_key=bindparam("once_key")))
EXTEND_HOLD = _sql(
    update(holds).where(holds.c.hold_id == bindparam("its_id")).values(amount_nanos=bindparam("amount_nanos"))
)
OPEN_HOLDS = _sql(select(holds).order_by(holds.c.admitted_at, holds.c.hold_id))

INSERT_RECORD = _sql(_insert(usage_records, "cost"))
INSERT_CHARGE = _sql(_insert(charges))
FIND_RECORD = _sql(select(usage_records.c.fingerprint).where(usage_records.c.record_id == bindparam("record_id")))
FIND_BILLED = _sql(select(usage_records.c.record_id).where(usage_records.c.once_key == bindparam("once_key")))

ADD_SPEND = _add(spend, TALLIED)
ADD_ROLLUP = _add(rollups, MEASURES)
CLEAR_SPEND = _sql(delete(spend).where(spend.c.budget_id == bindparam("budget_id")))

NEWEST = _sql(select(func.max(usage_records.c.seq).label("seq")))

CHARGED = _sql(
    select(
        charges.c.timestamp,
        usage_records.c.cost_nanos,
        usage_records.c.input_tokens,
        usage_records.c.output_tokens,
        usage_records.c.corrects,
        usage_records.c.cost_basis,
    )
    .select_from(charges)
    .join(usage_records, and_(usage_records.c.seq == charges.c.record_seq))
    .where(charges.c.budget_id == bindparam("budget_id"))
    .order_by(charges.c.timestamp)
)
"""What one budget was charged, oldest first: its counters are made of nothing else."""

FIND_SECRET = _sql(select(secrets.c.value).where(secrets.c.name == bindparam("name")))

BUDGETS = _sql(select(budgets))
FIND_BUDGET = _sql(select(budgets.c.spec, budgets.c.is_active).where(budgets.c.budget_id == bindparam("budget_id")))
SAVE_BUDGET = _save_budget()
INSERT_AUDIT = _sql(_insert(audit_log, "seq"))
