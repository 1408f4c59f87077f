"""What a verdict was made of is kept in a few hundred bytes, and read back as it was."""

from datetime import UTC, datetime

import pytest

from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import budget_of
from penia_proxy.budget.engine import Ask, Engine
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.words import text_of, words_of
from penia_proxy.config import BudgetSpec
from penia_proxy.counters.memory import MemoryCounters

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_words_are_read_as_they_were() -> None:
    """Each budget in the order it was asked, those without a limit included, with each window's figures."""
    specs = (
        {"name": "wide", "daily_limit": 5, "monthly_limit": 50, "enforcement": "block"},
        {"name": "counts", "scope": {"components": ["rhetor"]}},
    )
    book = BudgetBook(
        budget_of(BudgetSpec.model_validate(spec), budget_id=f"b_{spec['name']}", created_at=AT, updated_at=AT)
        for spec in specs
    )
    engine = Engine(book, MemoryCounters())
    await engine.reserve(Facts("rhetor", "openai", "gpt-4o", {}), Ask(3_000, None), AT)
    verdict = await engine.reserve(Facts("rhetor", "openai", "gpt-4o", {}), Ask(2_000, None), AT)

    text = text_of(verdict)
    words = words_of(text)

    assert words is not None
    assert (words.kind, words.reason) == ("allow", verdict.reason)
    assert [(budget_id, len(said)) for budget_id, said in words.budgets] == [("b_counts", 0), ("b_wide", 2)]
    daily, monthly = words.budgets[1][1]
    assert (daily.period, daily.window_start) == ("daily", datetime(2026, 11, 23, tzinfo=UTC))
    assert (monthly.period, monthly.window_start) == ("monthly", datetime(2026, 11, 1, tzinfo=UTC))
    assert (daily.limit_nanos, daily.spent_nanos, daily.held_nanos, daily.amount_nanos) == (5 * 10**9, 0, 3_000, 2_000)
    assert len(text) < 250


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '["allow"]', '["allow", "fits", [["b", ["daily"]]]]'])
def test_what_cannot_be_read_is_no_explanation(text: str | None) -> None:
    """A row of another version explains nothing, and is no error."""
    assert words_of(text) is None
