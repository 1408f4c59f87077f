"""What is done to the file at quiet times, and that calls go before it."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from penia_proxy.ledger import tidying
from penia_proxy.ledger.ledger import Ledger
from tests.ledger.making import hold, record

HOLDS = 1_000


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what the writer's thread does by itself."""
    while not reached():
        await asyncio.sleep(0.001)


def pragma(path: Path, name: str) -> int:
    """Ask the file."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


async def grown(ledger: Ledger) -> None:
    """Open many holds and release them, which leaves free pages."""
    await asyncio.gather(*(ledger.reserve(hold(f"h_{number}")) for number in range(HOLDS)))
    await asyncio.gather(*(ledger.release(f"h_{number}") for number in range(HOLDS)))


async def test_a_quiet_ledger_gives_free_pages_back_and_folds_its_log_in(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that nothing uses go back to the file system, and the file itself has what the log had."""
    monkeypatch.setattr(tidying, "PAGES_AT_ONCE", 1)
    await grown(ledger)
    pages, free = pragma(path, "page_count"), pragma(path, "freelist_count")
    assert free > 0

    monkeypatch.setattr(tidying, "IDLE_S", 0.0)
    await ledger.settle(record("r_1"))  # wakes the thread, which then finds nothing more to do
    await until(lambda: pragma(path, "freelist_count") == 0)
    await until(lambda: path.stat().st_size < pages * 4096)

    assert pragma(path, "page_count") < pages
    assert pragma(path, "auto_vacuum") == 2


async def test_the_planner_knows_what_is_in_large_tables(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a quiet time whoever asks for a rare component at a frequent model is answered by the component's index."""
    monkeypatch.setattr(tidying, "ROWS_WORTH", 50)
    for number in range(60):
        await ledger.settle(record(f"r_{number}", component=f"rare-{number}", model="frequent"))
    rare = "SELECT * FROM usage_records WHERE component = 'rare-7' AND model = 'frequent'"
    assert "usage_records_model" in plan(path, rare)

    monkeypatch.setattr(tidying, "IDLE_S", 0.0)
    await ledger.settle(record("r_60"))
    await until(lambda: "usage_records_component" in plan(path, rare))

    with closing(sqlite3.connect(path)) as connection:
        known = {table for (table,) in connection.execute("SELECT DISTINCT tbl FROM sqlite_stat1")}
    assert known == {"usage_records", "charges", "rollups"}  # of the others nobody says that they are small


def plan(path: Path, statement: str) -> str:
    """Ask SQLite how it would answer."""
    with closing(sqlite3.connect(path)) as connection:
        return " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))


async def test_it_is_left_alone_for_hours_then(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tidied is not tidied again at the next quiet time."""
    times: list[bool] = []
    monkeypatch.setattr(tidying, "tidy", lambda *_: times.append(True) or True)
    monkeypatch.setattr(tidying, "IDLE_S", 0.0)
    await ledger.settle(record("r_1"))
    await until(lambda: bool(times))
    for number in range(2, 10):
        await ledger.settle(record(f"r_{number}"))

    assert times == [True]


async def test_a_call_goes_first(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the writer is wanted nothing more is begun, and the rest is done when it is quiet again."""
    await grown(ledger)
    await ledger.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        asked: list[bool] = []

        def wanted() -> bool:
            asked.append(True)
            return len(asked) > 2

        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        monkeypatch.setattr(tidying, "PAGES_AT_ONCE", 1)
        assert not tidying.tidy(connection, wanted)
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] == free - 1
        assert tidying.tidy(connection, lambda: False)
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] == 0


def test_a_file_of_before_keeps_its_pages(path: Path) -> None:
    """A file that was made without it is tidied as far as it can be, and its free pages are used again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (text TEXT)")
        connection.executemany("INSERT INTO other VALUES (?)", [("x" * 4000,)] * 50)
        connection.execute("DELETE FROM other")
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]

        assert free > 0
        assert tidying.tidy(connection, lambda: False)
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] == free


def test_what_fails_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Tidying that the file does not allow is logged; it is not tried again at once."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        assert tidying.tidy(connection, lambda: False)

    assert "could not be tidied" in caplog.text
