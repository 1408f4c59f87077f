"""What a window may spend is the budget's limit and what was granted to that window, at the instant of the call."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import Budget, budget_of
from penia_proxy.budget.engine import Ask, Engine, Verdict
from penia_proxy.budget.grants import Denial, Grant
from penia_proxy.budget.scope import Facts
from penia_proxy.config import BudgetSpec
from penia_proxy.counters.memory import MemoryCounters

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
FACTS = Facts("rhetor", "openai", "gpt-4o", {})
USD = 1_000_000_000
HOUR = timedelta(hours=1)


def budget(name: str = "b", **spec: Any) -> Budget:
    asked = BudgetSpec(**{"name": name, "daily_limit": 1.0, "enforcement": "approve", **spec})
    return budget_of(asked, budget_id=f"b_{name}", created_at=AT, updated_at=AT)


def grant(usd: float = 1, **said: Any) -> Grant:
    return replace(Grant("g_1", "b_b", "daily", int(usd * USD), "a late run", AT), **said)


async def verdict(of: Budget, usd: float, at: datetime = AT, *others: Budget) -> Verdict:
    return await Engine(BudgetBook((of, *others)), MemoryCounters()).reserve(FACTS, Ask(int(usd * USD), None), at)


async def test_a_grant_adds_to_its_window_alone() -> None:
    """Two dollars fit into one and one granted, today; not tomorrow, and not into the month."""
    given = budget(monthly_limit=10.0).ruled(grant(), AT)

    assert given.limits_at(AT) == {"daily": 2 * USD, "monthly": 10 * USD}
    assert (await verdict(given, 2)).kind == "warn"
    assert (await verdict(given, 2.1)).code == "approval_required"
    assert (await verdict(given, 2, AT + 24 * HOUR)).code == "approval_required"


async def test_a_grant_stops_counting_at_the_instant_it_expires() -> None:
    """A microsecond before it fits, at the instant it does not: the call's instant decides, and no timer."""
    given = budget().ruled(grant(expires_at=AT + HOUR), AT)

    assert (await verdict(given, 2, AT + HOUR - timedelta(microseconds=1))).kind == "warn"
    assert (await verdict(given, 2, AT + HOUR)).code == "approval_required"


async def test_a_grant_moves_with_the_budgets_calendar() -> None:
    """A grant is of the window that contains the instant it was made at, wherever that window begins."""
    given = replace(budget(timezone="Pacific/Auckland"), grants=(grant(),))  # 01:00 of the 24th there

    assert given.limits_at(AT + 13 * HOUR)["daily"] == 2 * USD
    assert given.limits_at(AT - 2 * HOUR)["daily"] == USD


async def test_rulings_of_windows_that_are_over_are_dropped() -> None:
    """A budget does not carry every grant it ever had, only those that a corrected clock could be among again."""
    given = budget().ruled(grant(), AT).ruled(Denial("daily", AT), AT)

    soon = given.ruled(grant(granted_at=AT + 24 * HOUR), AT + 24 * HOUR)
    late = given.ruled(grant(granted_at=AT + 99 * HOUR), AT + 99 * HOUR)

    assert (len(soon.grants), len(soon.denials)) == (2, 1)
    assert (len(late.grants), late.denials) == (1, ())


async def test_a_denial_ends_with_its_window_or_with_a_grant() -> None:
    """Denied, a call is exceeded and asks no more; tomorrow, or once something was granted, it asks again."""
    denied = budget().ruled(Denial("daily", AT), AT)
    given = denied.ruled(grant(0.5, granted_at=AT + HOUR), AT + HOUR)

    refused = await verdict(denied, 1.1)
    assert refused.code == "budget_exceeded"
    assert refused.reason.endswith("denied.")
    assert (await verdict(denied, 1.1, AT + 24 * HOUR)).code == "approval_required"
    assert (await verdict(given, 1.4, AT + HOUR)).kind == "warn"
    assert (await verdict(given, 1.6, AT + HOUR)).code == "approval_required"


async def test_nobody_is_asked_where_approval_would_not_help() -> None:
    """Of several budgets that refuse, the one that is cured least decides: exceeded, approval, busy."""
    ask, block = budget(), budget("wall", enforcement="block")
    busy = Engine(
        BudgetBook([budget("busy", enforcement="block", hourly_limit=2.0, daily_limit=None), ask]),
        counters := MemoryCounters(),
    )

    assert (await verdict(ask, 1.1, AT, block)).code == "budget_exceeded"
    first = await busy.reserve(FACTS, Ask(USD, None), AT)
    assert first.kind != "block"
    assert (await busy.reserve(FACTS, Ask(int(1.5 * USD), None), AT)).code == "approval_required"
    assert (await busy.reserve(FACTS, Ask(int(0.5 * USD), None), AT)).code == "budget_busy"
    await counters.release(first.legs)


async def test_a_shadow_only_says_that_it_would_ask() -> None:
    """A budget that is tried out refuses nothing."""
    assert (await verdict(budget(shadow=True), 1.1)).kind == "warn"
