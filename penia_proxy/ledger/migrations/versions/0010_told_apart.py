"""
Rollups by cost basis and by the budgets that were charged.

What there is already is added up from the records and folded, a day at a time; this day is left to the running gateway.
In its steps all of it would take hours, of a large ledger.
"""

import json
import logging
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from penia_proxy.clock import Clock, SystemClock

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


CELLS = """(
  SELECT '' AS budget_id, rollups.* FROM rollups
  UNION ALL
  SELECT budget_sets.budget_id, rollups.* FROM rollups JOIN budget_sets ON budget_sets.set_id = rollups.set_id
)
JOIN (SELECT 0 AS based UNION ALL SELECT 1)
WHERE hour >= ? AND hour < ? || 'U'"""
TOLD = """
CREATE TEMP TABLE told AS
SELECT budget_id, iif(based, cost_basis, '') AS cost_basis, substr(hour, 1, 12) AS hours, component, provider, model,
  task_type, {sums}
FROM {cells}
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
"""A day's, by ten hours: of those many are alike, so that what is longer is made of them."""
FOLD = """
INSERT INTO {table} SELECT {key}, {sums}
FROM told
JOIN (SELECT 4 AS width UNION ALL SELECT 7 UNION ALL SELECT 9 UNION ALL SELECT 10 UNION ALL SELECT 12)
WHERE true
GROUP BY {numbers}
ON CONFLICT DO UPDATE SET {added}
"""
HOURS = """
INSERT INTO folds_by_name
SELECT budget_id, iif(based, cost_basis, ''), '{name}', substr(hour, 1, 13), {name}, {sums}
FROM {cells}
GROUP BY 1, 2, 4, 5
"""
SPAN = "substr(hours, 1, width)"
FOLDED = {
    "folds": ("budget_id", "cost_basis", "span", *NAMES),
    "folds_by_name": ("budget_id", "cost_basis", "grouping", "span", "name"),
}
LAST = """
SELECT hour, component, provider, model, task_type, cost_basis, set_id FROM rollups WHERE hour < ?
ORDER BY hour DESC, component DESC, provider DESC, model DESC, task_type DESC, cost_basis DESC, set_id DESC LIMIT 1
"""


def upgrade() -> None:
    """Make the tables anew, and fill them."""
    bind = op.get_bind()
    days = [day for (day,) in bind.exec_driver_sql("SELECT DISTINCT substr(hour, 1, 10) FROM rollups ORDER BY 1")]
    for name in ("rollups", *FOLDED, "folded_until"):
        op.drop_table(name)
    op.create_table(
        "budget_sets",
        sa.Column("set_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.budget_id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("budget_sets_of", "budget_sets", ["budget_id", "set_id"])
    _create("rollups", KEY, MEASURES)
    for name, key in FOLDED.items():
        _create(name, key, MEASURES)
    until = _create("folded_until", KEY)
    clock = SystemClock()
    today = clock.now().date().isoformat()
    _fill(bind, days, today, clock)
    found = bind.exec_driver_sql(LAST, (today,)).first() or ("",) * SET + (0,)
    op.bulk_insert(until, [dict(zip(KEY, found, strict=True))])


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


def _fill(bind: sa.Connection, days: Sequence[str], today: str, clock: Clock) -> None:
    """Add up the records of some days, and fold those that are over."""
    sets = {"[]": 0}
    into = f"INSERT INTO rollups VALUES ({', '.join('?' * (len(KEY) + len(MEASURES)))})"  # noqa: S608
    said = clock.monotonic()
    for done, day in enumerate(days):
        rows = bind.exec_driver_sql(OF_A_DAY, (day, day)).all()
        for members in {row[SET] for row in rows} - sets.keys():
            number = sets[members] = len(sets)
            its = [(number, budget_id) for budget_id in json.loads(members)]
            bind.exec_driver_sql("INSERT INTO budget_sets VALUES (?, ?)", its)
        bind.exec_driver_sql(into, [(*row[:SET], sets[row[SET]], *row[SET + 1 :]) for row in rows])
        if day < today:
            _fold(bind, day)
        if clock.monotonic() > said + SAY_S:
            said = clock.monotonic()
            log.info("adding the ledger up by basis and budget, once: %d of %d days", done + 1, len(days))


def _fold(bind: sa.Connection, day: str) -> None:
    """Add a day of rollups to the folds."""
    sums = ", ".join(f"sum({measure}) AS {measure}" for measure in MEASURES)
    added = ", ".join(f"{measure} = {measure} + excluded.{measure}" for measure in MEASURES)
    bind.exec_driver_sql(TOLD.format(sums=sums, cells=CELLS), (day, day))
    keys: list[tuple[str, tuple[str, ...]]] = [("folds", ("budget_id", "cost_basis", SPAN, *NAMES))]
    keys += [("folds_by_name", ("budget_id", "cost_basis", f"'{name}'", SPAN, name)) for name in NAMES]
    for table, key in keys:
        numbers = ", ".join(str(at + 1) for at in range(len(key)))
        fold = FOLD.format(table=table, key=", ".join(key), sums=sums, numbers=numbers, added=added)
        bind.exec_driver_sql(fold)
    for name in NAMES:
        bind.exec_driver_sql(HOURS.format(name=name, sums=sums, cells=CELLS), (day, day))
    bind.exec_driver_sql("DROP TABLE told")
