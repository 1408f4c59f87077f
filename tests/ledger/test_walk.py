"""A walk through the records: every one that is asked for, once, as of its beginning."""

import sqlite3
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from penia_proxy.budget.record import UsageRecord
from penia_proxy.config import LedgerConfig
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.file import open_for_reading, path_of
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.walk import walk
from tests.ledger.making import DEFAULT, NOON, record


async def filled(ledger: Ledger, count: int = 25) -> None:
    """Settle records that come in another order than their instants, several at the same."""
    for number in range(count):
        at = NOON - timedelta(minutes=(number * 7) % 5)
        component = f"c{number % 3}"
        await ledger.settle(record(f"r-{number:02}", timestamp=at, component=component))


def walked(config: LedgerConfig, asked: RecordFilter, size: int) -> list[UsageRecord]:
    with open_for_reading(config.url) as connection:
        return [one for page in walk(connection, Files(path_of(config.url)), asked, size=size) for one in page]


@pytest.mark.parametrize("size", [1, 4, 25, 100])
@pytest.mark.parametrize(
    "said",
    [{}, {"components": ("c1",)}, {"budget_id": DEFAULT}, {"start": NOON - timedelta(minutes=2), "end": NOON}],
)
async def test_a_walk_is_the_list_backwards(
    ledger: Ledger, config: LedgerConfig, said: dict[str, Any], size: int
) -> None:
    """Whatever the filter and the size of a page, it has what the list has, oldest first."""
    await filled(ledger)
    asked = RecordFilter(**said)
    listed = (await ledger.lists.records(asked, limit=100)).records

    assert listed
    assert walked(config, asked, size) == listed[::-1]


async def test_what_is_written_meanwhile_is_not_in_it(ledger: Ledger, config: LedgerConfig) -> None:
    """Records that are added while somebody walks are not seen, wherever their instants put them."""
    await filled(ledger, 4)
    with open_for_reading(config.url) as connection:
        pages = walk(connection, Files(path_of(config.url)), RecordFilter(), size=2)
        seen = [one.record_id for one in next(pages)]
        await ledger.settle(record("late", timestamp=NOON + timedelta(hours=1)))
        seen += [one.record_id for page in pages for one in page]

    assert sorted(seen) == ["r-00", "r-01", "r-02", "r-03"]


async def test_nothing_is_held_open_between_pages(
    ledger: Ledger, config: LedgerConfig, beside: sqlite3.Connection
) -> None:
    """Whoever walks slowly keeps no transaction: the log behind the writer can be folded in."""
    await filled(ledger, 4)
    with open_for_reading(config.url) as connection:
        pages = walk(connection, Files(path_of(config.url)), RecordFilter(), size=2)
        next(pages)
        await ledger.settle(record("late"))
        busy, *_ = beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        beside.execute("BEGIN IMMEDIATE")
        beside.execute("ROLLBACK")

    assert not busy


async def test_every_page_is_found_by_an_index(ledger: Ledger, config: LedgerConfig) -> None:
    """No page sorts: an export of a million records costs a million times what one record does."""
    await filled(ledger)
    plans = []
    with open_for_reading(config.url) as connection:
        for said in ({}, {"components": ("c1",)}, {"budget_id": DEFAULT}, {"start": NOON - timedelta(days=1)}):
            asked = RecordFilter(**said)  # type: ignore[arg-type]
            pages = walk(connection, Files(path_of(config.url)), asked, size=1)
            next(pages)
            plans.append(explain(connection, Files(path_of(config.url)), asked))

    assert not [line for plan in plans for line in plan if "TEMP B-TREE" in line or line.startswith("SCAN")]


def explain(connection: Any, files: Files, asked: RecordFilter) -> list[str]:
    """Return SQLite's plan of the second page."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        seen.append((statement, parameters))

    event.listen(connection.engine, "before_cursor_execute", note)
    pages = walk(connection, files, asked, size=1)
    next(pages)
    seen.clear()
    next(pages)
    event.remove(connection.engine, "before_cursor_execute", note)
    statement, parameters = seen[0]
    rows = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
    return [row[-1] for row in rows]
