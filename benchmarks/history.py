"""
Give a ledger a past.

Its one job: as many records as asked for, in a file that the gateway then opens, so that it can be measured whether a
call, or a question, costs more after millions of them. Without ``counted``, the counters beside them are left alone:
`penia verify` would complain.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from penia_proxy.budget.budget import budget_of
from penia_proxy.clock import SystemClock, iso
from penia_proxy.config import BudgetSpec, LedgerConfig
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.archiving import Archiving
from penia_proxy.ledger.file import open_for_writing
from penia_proxy.ledger.folding import GRACE, fold, folded_until
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.rows import RollupKey, hour_of

BUDGET_ID = "b_everything"

RECORDS = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :records)
INSERT INTO usage_records (seq, record_id, budget_id, component, provider, model, task_type, request_id, input_tokens,
  cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, input_cost_nanos, cost_nanos,
  cost_basis, streamed, status, timestamp, tags, usage, metadata)
SELECT n, 'r_' || lower(hex(randomblob(16))), :budget_id, 'c' || (n % 1000), iif(n % 10, 'openai', 'anthropic'),
  iif(n % 10 AND n % 99991, 'gpt-4o-mini', 'claude-sonnet-4-5'), iif(n % 2, 'chat', NULL), 'r_' || n, 12, 0, 0,
  60, 0, 72, 1800, iif(n % 10, 1800, 900000) + (abs(random()) % 1000) * (abs(random()) % 1000),
  iif(n / 1000 % 20, 'reported', 'partial'), 0, 'ok',
  strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || ((:records - n) * :apart_s) || ' seconds'),
  '{}', '{"input":12,"output":60}', '{}'
FROM number
"""

COUNTERS = (
    """
INSERT INTO charges (record_seq, budget_id, timestamp, position)
SELECT seq, budget_id, timestamp, 0 FROM usage_records
""",
    """
INSERT INTO budget_sets SELECT 1, budget_id FROM budgets
""",
    """
INSERT INTO rollups (hour, component, provider, model, task_type, cost_basis, set_id, record_count, request_count,
  input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nanos, unpriced_count)
SELECT substr(timestamp, 1, 13) || ':00:00.000000Z', component, provider, model, coalesce(task_type, ''), cost_basis, 1,
  count(*), count(*), sum(input_tokens), 0, 0, sum(output_tokens), 0, sum(cost_nanos), 0
FROM usage_records GROUP BY 1, 2, 3, 4, 5, 6
""",
    *(
        f"""
INSERT INTO spend (budget_id, period, window_start, spent_nanos, input_tokens, output_tokens, request_count,
  unpriced_count)
SELECT budget_id, '{period}', {day} || 'T{hour}:00:00.000000Z', sum(cost_nanos), sum(input_tokens),
  sum(output_tokens), count(*), 0
FROM usage_records GROUP BY 3
"""
        for period, day, hour in (
            ("hourly", "substr(timestamp, 1, 10)", "' || substr(timestamp, 12, 2) || '"),
            ("daily", "substr(timestamp, 1, 10)", "00"),
            ("weekly", "date(timestamp, 'weekday 0', '-6 days')", "00"),
            ("monthly", "substr(timestamp, 1, 7) || '-01'", "00"),
            ("total", "'1970-01-01'", "00"),
        )
    ),
)


def fill(path: Path, records: int, *, counted: bool = False, apart_s: int = 1) -> None:
    """Make a new ledger with so many records, so far apart; ``counted``: by a budget over everything, and summed."""

    async def make() -> None:
        clock = SystemClock()
        ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), clock)
        if counted:
            spec = BudgetSpec(name="Everything", daily_limit=1_000_000, monthly_limit=10_000_000)
            made = clock.now()
            await ledger.save_budget(budget_of(spec, budget_id=BUDGET_ID, created_at=made, updated_at=made))
        await ledger.close()

    asyncio.run(make())
    if not records:
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        connection.execute(
            RECORDS, {"records": records, "apart_s": apart_s, "budget_id": BUDGET_ID if counted else None}
        )
        for statement in COUNTERS if counted else ():
            connection.execute(statement)
        if counted:
            _fold(connection)


def archive(path: Path) -> None:
    """Move all months but the last two to files of their own."""
    _, lock, connection = open_for_writing(LedgerConfig(url=f"sqlite:///{path}", durability="normal"))
    with closing(connection), closing(Files(path)) as files:
        for _ in Archiving(files, 1, SystemClock().now).steps(connection):
            pass
    lock.release()


def _fold(connection: sqlite3.Connection) -> None:
    """Fold what is over in one transaction; the gateway makes one, synchronised, of each few cells."""
    closed = hour_of(iso(SystemClock().now() - GRACE))
    connection.execute("BEGIN")
    until: RollupKey | None = folded_until(connection)
    while until is not None:
        until = fold(connection, until, closed)
    connection.execute("COMMIT")
