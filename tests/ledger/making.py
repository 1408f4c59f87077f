"""
Values for the ledger's tests.

Its one job: holds, records and budgets of which a test names only what matters to it.
"""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import create_engine

import penia_proxy.ledger.file as ledger_file
from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.budget.record import Hold, UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.config import BudgetSpec

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""A Monday."""
DEFAULT = "b_default"


class StillClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.instant = NOON

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return (self.instant - NOON) / timedelta(seconds=1)


def hold(hold_id: str, **said: Any) -> Hold:
    """Return a hold of 1,000 nano-dollars on the default budget."""
    usual = Hold(
        hold_id,
        NOON,
        1_000,
        (DEFAULT,),
        "rhetor",
        "openai",
        "gpt-4o",
        tags={"team": "search"},
        streamed=True,
        input_tokens_estimated=70,
        output_tokens_estimated=30,
        pricing_version="p1",
    )
    return replace(usual, **said)


def record(record_id: str, **said: Any) -> UsageRecord:
    """Return a record of 900 nano-dollars, 20 tokens in and 5 out, on the default budget."""
    usual = UsageRecord(
        record_id,
        NOON,
        "rhetor",
        "openai",
        "gpt-4o",
        Usage(input=10, cache_read=7, cache_write=2, cache_write_1h=1, output=4, reasoning=1),
        "reported",
        900,
        300,
        (DEFAULT,),
    )
    return replace(usual, **said)


def budget(budget_id: str = DEFAULT, **said: Any) -> Budget:
    """Return a budget of $5 a day."""
    spec = BudgetSpec.model_validate({"name": budget_id.removeprefix("b_"), "daily_limit": 5, **said})
    return budget_of(spec, budget_id=budget_id, created_at=NOON, updated_at=NOON)


def migrate(path: Path, revision: str) -> None:
    """Make a ledger as an earlier version began it, with nothing in it."""
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", str(Path(ledger_file.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, revision)
        connection.commit()
    engine.dispose()


def aged(path: Path, revision: str) -> None:
    """Make of a closed ledger what an earlier version would have left."""
    newer = path.rename(path.with_name("newer.db"))
    migrate(path, revision)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("ATTACH ? AS newer", (str(newer),))
        tables = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in old.execute(f"{tables} AND name <> 'alembic_version'").fetchall():
            names = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
            old.execute(f"DELETE FROM main.{table}")  # what a migration has begun it with
            old.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
    newer.unlink()
