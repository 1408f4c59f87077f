"""
Walk through the records.

Its one job: every record that a filter asks for, oldest first, a page at a time.
Rules: what is walked through is the ledger of the moment it began: records are never changed, so a bound on `seq` is a
snapshot, and no transaction is held open between pages, however long whoever takes them needs. A page costs the same
wherever it lies. It blocks: give it a thread.
"""

from collections.abc import Generator

from sqlalchemy import Connection, func, select, tuple_

from penia_proxy.budget.record import UsageRecord
from penia_proxy.ledger.queries import RecordFilter, by_record, charges_of, conditions, source
from penia_proxy.ledger.rows import record_of
from penia_proxy.ledger.schema import usage_records

PAGE_RECORDS = 500
"""About half a megabyte of records as they are; 8 MB where each has as much metadata as it may."""


def walk(
    connection: Connection, asked: RecordFilter, *, size: int = PAGE_RECORDS
) -> Generator[list[UsageRecord], None, None]:
    """Yield the records in pages of at most ``size``, by timestamp and then by the order of writing."""
    where, moment, seq = source(asked)
    newest = connection.scalar(select(func.max(usage_records.c.seq))) or 0
    statement = (
        select(usage_records)
        .select_from(where)
        .where(*conditions(asked, moment), seq <= newest)
        .order_by(moment, seq)
        .limit(size)
    )
    last = None
    while True:
        rows = connection.execute(
            statement if last is None else statement.where(tuple_(moment, seq) > tuple_(last["timestamp"], last["seq"]))
        )
        page = rows.mappings().all()
        if not page:
            return
        budgets = by_record(connection.execute(charges_of([row["seq"] for row in page])))
        yield [record_of(row, budgets.get(row["seq"], ())) for row in page]
        last = page[-1]
