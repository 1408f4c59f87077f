"""
Values for the ledger's tests.

Its one job: holds, records and budgets of which a test names only what matters to it.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

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
