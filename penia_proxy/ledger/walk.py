"""
Walk through the records.

Its one job: every record that a filter asks for, oldest first, a page at a time.
Rules: what is walked through is the ledger of the moment it began: records are never changed, so a bound on `seq` is a
snapshot, and no transaction is held open between pages, however long whoever takes them needs. A page costs the same
wherever it lies, and finds its records wherever they have been moved meanwhile. It blocks: give it a thread.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, select, tuple_

from penia_proxy.budget.record import UsageRecord
from penia_proxy.clock import from_iso
from penia_proxy.ledger.archives import Files, newest_record
from penia_proxy.ledger.lists import readable
from penia_proxy.ledger.merging import Questions, answered, first_of, parts_of
from penia_proxy.ledger.orders import OLDEST_FIRST
from penia_proxy.ledger.queries import RecordFilter, conditions, records_of, source
from penia_proxy.ledger.schema import usage_records

PAGE_RECORDS = 500
"""About half a megabyte of records as they are; 8 MB where each has as much metadata as it may."""


def walk(
    connection: Connection, files: Files, asked: RecordFilter, *, size: int = PAGE_RECORDS
) -> Generator[list[UsageRecord], None, None]:
    """
    Yield the records in pages of at most ``size``, by timestamp and then by the order of writing.

    Raises ArchiveUnavailable, as far as it can be foreseen before the first page.
    """
    asked = replace(asked, until_seq=connection.scalar(newest_record()))
    with _snapshot(connection):
        answered(connection, files, readable(asked))
    last = None
    while True:
        with _snapshot(connection):
            page, last = answered(connection, files, _page(asked, size, last))
        if not page:
            return
        yield page


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        connection.exec_driver_sql("ROLLBACK")


def _page(
    asked: RecordFilter, size: int, last: RowMapping | None
) -> Questions[tuple[list[UsageRecord], RowMapping | None]]:
    rest = asked if last is None else replace(asked, start=from_iso(last["timestamp"]))
    parts = yield from parts_of(rest, OLDEST_FIRST)
    found = yield from first_of(parts, OLDEST_FIRST, lambda part: walking(part.asked, last), size)
    return (yield from records_of(found)), found[-1].row if found else None


def walking(asked: RecordFilter, last: RowMapping | None) -> Select[Any]:
    """Return the statement of the records behind a row, oldest first."""
    where, moment, seq = source(asked)
    statement = select(usage_records).select_from(where).where(*conditions(asked, moment))
    if last is not None:
        statement = statement.where(tuple_(moment, seq) > tuple_(last["timestamp"], last["seq"]))
    return statement.order_by(moment, seq)
