"""A ledger of an earlier version: added up anew, then folded while it is used."""

import logging
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from penia_proxy.config import LedgerConfig
from penia_proxy.ledger import folding
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine
from tests.ledger.making import NOON, StillClock, budget, migrate, record
from tests.ledger.test_summary import SPANS, expected, made

KEY = "hour, component, provider, model, task_type"
ADDED = "budget_sets", "rollups", "folds", "folds_by_name", "folded_until"
"""What sums up, and is made of the rest."""


def columns_of(connection: sqlite3.Connection, table: str) -> str:
    """Return what can be written of a table, as SQL."""
    found = connection.execute(f"SELECT name FROM pragma_table_xinfo('{table}') WHERE hidden = 0")
    return ", ".join(f'"{name}"' for (name,) in found)


@pytest.fixture
async def before(path: Path, config: LedgerConfig, clock: StillClock, tmp_path: Path) -> Path:
    """Write a ledger as the version before basis and budgets were told apart would have: the same rows, its rollups."""
    ledger = await Ledger.open(config, clock)
    for budget_id in ("b_default", "b_other"):
        await ledger.save_budget(budget(budget_id))
    for one in made():
        await ledger.settle(one)
    await ledger.close()
    old = tmp_path / "old.db"
    migrate(old, "0009")
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("ATTACH ? AS new", (str(path),))
        tables = [name for (name,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")]
        for table in {*tables} - {*ADDED, "alembic_version", "sqlite_sequence"}:
            names = columns_of(connection, table)
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
        sums = columns_of(connection, "rollups").removeprefix('"' + '", "'.join(KEY.split(", ")) + '", ').split(", ")
        summed = ", ".join(f"sum({name})" for name in sums)
        connection.execute(f"INSERT INTO main.rollups SELECT {KEY}, {summed} FROM new.rollups GROUP BY {KEY}")
        connection.commit()
    return old


async def test_what_was_there_is_told_apart(
    before: Path, clock: StillClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By basis and by every budget that was charged: at once, and while it is folded; late records are in it too."""
    monkeypatch.setattr(folding, "CELLS_AT_ONCE", 2)
    monkeypatch.setattr("penia_proxy.clock.SystemClock.now", lambda _: NOON)
    clock.instant = NOON + timedelta(days=5)
    caplog.set_level(logging.INFO)
    config = LedgerConfig(url=f"sqlite:///{before}")
    ledger = await Ledger.open(config, clock)
    left, steps = True, 0
    while left:
        for name, asked in SPANS.items():
            assert await ledger.summaries.summary(asked) == expected(asked), (name, steps)
        left, steps = await ledger.fold(), steps + 1
    await ledger.settle(record("r_more", budget_ids=("b_default", "b_other")))
    await ledger.close()

    assert steps > 1
    assert not examine(config.url).differences
    assert "once: " not in caplog.text  # it did not take long


async def test_adding_up_that_takes_long_says_how_far_it_is(
    before: Path, clock: StillClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for a start sees that it goes on."""
    monkeypatch.setattr("penia_proxy.clock.SystemClock.monotonic", iter(range(0, 10**6, 6)).__next__)
    caplog.set_level(logging.INFO)
    await (await Ledger.open(LedgerConfig(url=f"sqlite:///{before}"), clock)).close()

    said = [one.getMessage() for one in caplog.records if one.getMessage().startswith("adding the ledger up")]
    days = len({one.timestamp.date() for one in made()})
    assert said[-1].endswith(f"{days} of {days} days")
    assert len(said) > 1
