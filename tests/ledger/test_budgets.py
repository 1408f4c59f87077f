"""Budgets in the ledger: saved, recounted when their windows move, audited."""

import sqlite3
from typing import Any

import pytest

from penia_proxy.ledger.ledger import Ledger
from tests.ledger.making import DEFAULT, NOON, budget, record

CALENDARS = [
    {"timezone": "Asia/Kathmandu"},
    {"week_start": "sunday"},
    {"month_start_day": 24},
    {"timezone": "America/Havana", "week_start": "friday", "month_start_day": 31},
]


@pytest.mark.parametrize("calendar", CALENDARS)
async def test_a_new_calendar_recounts_every_window(ledger: Ledger, calendar: dict[str, Any]) -> None:
    """After a budget's windows moved, its counters are those of the new ones; other budgets keep theirs."""
    await ledger.save_budget(budget("b_team"))
    for number in range(60):
        instant = NOON.replace(day=1) + number * (NOON - NOON.replace(day=22))  # a day apart, over two months
        await ledger.settle(record(f"r_{number}", timestamp=instant, budget_ids=("b_team", DEFAULT)))
    before = {key: tally for key, tally in (await ledger.tallies(NOON)).items() if key.budget_id == "b_team"}
    await ledger.save_budget(budget(**calendar))
    await ledger.settle(record("r_after"))

    after = {key: tally for key, tally in (await ledger.tallies(NOON)).items() if key.budget_id == "b_team"}
    assert after == before
    # The proof at the end of every test recomputes the changed budget's.


async def test_changing_a_limit_keeps_what_was_spent(ledger: Ledger) -> None:
    """A limit added in the middle of a month sees the month's spend."""
    await ledger.settle(record("r_1"))
    await ledger.save_budget(budget(monthly_limit=100))

    monthly = [tally.spent_nanos for key, tally in (await ledger.tallies(NOON)).items() if key.period == "monthly"]
    assert monthly == [900]


async def test_changes_of_budgets_are_audited(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """Who, what, the old and the new spec, in the same transaction as the change; without an audit, none."""
    await ledger.save_budget(budget(daily_limit=6), {"actor": "ops", "action": "update", "reason": "launch"})
    await ledger.save_budget(budget(daily_limit=7))

    entries = beside.execute(
        "SELECT at, actor, action, subject, details ->> '$.reason', details ->> '$.old.spec.daily_limit',"
        " details ->> '$.new.spec.daily_limit' FROM audit_log"
    ).fetchall()
    assert entries == [("2026-11-23T12:00:00.000000Z", "ops", "update", DEFAULT, "launch", 5.0, 6.0)]
