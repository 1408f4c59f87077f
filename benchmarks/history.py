"""
Give a ledger a past.

Its one job: as many records as asked for, in a file that the gateway then opens, so that it can be measured whether a
call costs more after a million of them. The counters beside them are left alone: `penia verify` would complain.
"""

import asyncio
import sqlite3
from pathlib import Path

from penia_proxy.clock import SystemClock
from penia_proxy.config import LedgerConfig
from penia_proxy.ledger.ledger import Ledger

RECORDS = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
INSERT INTO usage_records (seq, record_id, component, provider, model, request_id, input_tokens, cache_read_tokens,
  cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, input_cost_nanos, cost_nanos, cost_basis,
  streamed, status, timestamp, tags, usage, metadata)
SELECT n, 'r_' || lower(hex(randomblob(16))), 'c' || (n % 1000), 'openai', 'gpt-4o-mini', 'r_' || n, 12, 0, 0,
  60, 0, 72, 1800, 37800, 'reported', 0, 'ok', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || (? - n) || ' seconds'),
  '{}', '{"input":12,"output":60}', '{}'
FROM number
"""


def fill(path: Path, records: int) -> None:
    """Make a new ledger with so many records, a second apart."""

    async def make() -> None:
        await (await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), SystemClock())).close()

    asyncio.run(make())
    if not records:
        return
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    connection.execute(RECORDS, (records, records))
    connection.close()
