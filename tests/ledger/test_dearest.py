"""Lists in any order: every record once, by any way in which it can be found."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

import penia_proxy.ledger.dearest as ledger_dearest
import penia_proxy.ledger.lists as ledger_lists
from penia_proxy.budget.record import UsageRecord
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.orders import ORDERS, Sort
from penia_proxy.ledger.queries import RecordFilter
from tests.ledger.making import DEFAULT, NOON, StillClock, budget, record

COSTS = (None, -5, 0, 0, 0, 7, 7, 1_000, 10**15)


@pytest.fixture
async def mixed(ledger: Ledger) -> list[UsageRecord]:
    """Write records of several kinds, whose costs repeat, are unknown and are below nothing."""
    chance = random.Random(11)
    await ledger.save_budget(budget("b_odd"))
    records = []
    for number in range(60):
        cost = chance.choice(COSTS)
        provider, model = chance.choice([("openai", "gpt-4o"), ("openai", "o3"), ("anthropic", "claude")])
        records.append(
            record(
                f"r_{number}",
                timestamp=NOON + timedelta(minutes=chance.randrange(20)),
                component=chance.choice(["apollo", "rhetor"]),
                provider=provider,
                model=model,
                task_type=chance.choice([None, "chat"]),
                cost_basis="unpriced" if cost is None else chance.choice(["reported", "partial"]),
                cost_nanos=cost,
                budget_ids=chance.choice([("b_odd", DEFAULT), (DEFAULT,)]),
            )
        )
    await asyncio.gather(*(ledger.settle(one) for one in records))
    return records


FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "component": {"components": ("apollo",)},
    "provider": {"providers": ("openai",)},
    "models": {"models": ("o3", "claude")},
    "task type": {"task_types": ("chat",)},
    "basis": {"cost_bases": ("unpriced",)},
    "budget": {"budget_id": "b_odd"},
    "time": {"start": NOON + timedelta(minutes=5), "end": NOON + timedelta(minutes=15)},
    "provider and time": {"providers": ("openai",), "start": NOON + timedelta(minutes=5)},
    "nothing": {"components": ("nobody",)},
}


def expected(records: list[UsageRecord], asked: RecordFilter, sort: Sort) -> list[str]:
    """Return the ids of what matches, sorted in the plainest way."""
    found = [
        (number, one)
        for number, one in enumerate(records)
        if (not asked.components or one.component in asked.components)
        and (not asked.providers or one.provider in asked.providers)
        and (not asked.models or one.model in asked.models)
        and (not asked.task_types or one.task_type in asked.task_types)
        and (not asked.cost_bases or one.cost_basis in asked.cost_bases)
        and (asked.budget_id is None or asked.budget_id in one.budget_ids)
        and (asked.start is None or one.timestamp >= asked.start)
        and (asked.end is None or one.timestamp < asked.end)
    ]

    def place(numbered: tuple[int, UsageRecord]) -> tuple[Any, ...]:
        number, one = numbered
        if sort.endswith("timestamp"):
            return one.timestamp, number
        return one.cost_nanos is not None, one.cost_nanos or 0, number

    return [one.record_id for _, one in sorted(found, key=place, reverse=sort.startswith("-"))]


@pytest.mark.parametrize("way", ["sorted", "merged", "merged, then sorted", "too many kinds"])
@pytest.mark.parametrize("sort", ORDERS)
async def test_pages_are_the_whole_in_order(
    ledger: Ledger, mixed: list[UsageRecord], monkeypatch: pytest.MonkeyPatch, sort: Sort, way: str
) -> None:
    """By cursor and by number, pages one after the other are every match, once, in its order; equal costs included."""
    if way != "sorted":
        monkeypatch.setattr(ledger_lists, "COUNTED_MAX", 0)
    if way == "merged, then sorted":
        monkeypatch.setattr(ledger_dearest, "NEAREST", (5, 10))
    if way == "too many kinds":
        monkeypatch.setattr(ledger_dearest, "KINDS_SEEN_MAX", 2)
    for name, said in FILTERS.items():
        asked = RecordFilter(**said)
        by_cursor, by_number = await paged(ledger, asked, sort)

        assert by_cursor == expected(mixed, asked, sort), name
        assert by_number == by_cursor, name


async def paged(ledger: Ledger, asked: RecordFilter, sort: Sort) -> tuple[list[str], list[str]]:
    """Return the ids of all pages, by cursor and by number."""
    by_cursor, by_number, cursor, number = [], [], None, 0
    while number == 0 or cursor is not None:
        number += 1
        page = await ledger.lists.records(asked, order=ORDERS[sort], limit=7, cursor=cursor)
        counted = await ledger.lists.records(asked, order=ORDERS[sort], limit=7, page=number)
        by_cursor += [one.record_id for one in page.records]
        by_number += [one.record_id for one in counted.records]
        cursor = page.next_cursor
        assert all(one.budget_ids for one in page.records)
    return by_cursor, by_number


async def test_only_the_nearest_are_looked_through(
    ledger: Ledger, mixed: list[UsageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that is none of kinds is answered out of the nearest where they fill the page, and nothing is sorted."""
    monkeypatch.setattr(ledger_lists, "COUNTED_MAX", 0)
    monkeypatch.setattr(ledger_dearest, "gathered", None)  # calling it would raise
    page = await ledger.lists.records(RecordFilter(task_types=("chat",)), order=ORDERS["-cost"], limit=5)

    assert len(page.records) == 5


@pytest.mark.parametrize("folded", [True, False])
async def test_kinds_in_which_nothing_matches_are_not_looked_through(
    ledger: Ledger, clock: StillClock, monkeypatch: pytest.MonkeyPatch, folded: bool
) -> None:
    """What is dearest may be of models that never do such a task: the sums tell, and nothing is sorted."""
    for number in range(20):
        await ledger.settle(record(f"r_dear_{number}", model="dear", task_type=None, cost_nanos=10**9))
        await ledger.settle(record(f"r_cheap_{number}", model="cheap", task_type="chat", cost_nanos=1 + number))
    if folded:
        clock.instant += timedelta(days=1)
        while await ledger.fold():
            pass
    monkeypatch.setattr(ledger_lists, "COUNTED_MAX", 0)
    monkeypatch.setattr(ledger_dearest, "NEAREST", (5, 10))
    monkeypatch.setattr(ledger_dearest, "gathered", None)  # calling it would raise
    page = await ledger.lists.records(RecordFilter(task_types=("chat",)), order=ORDERS["-cost"], limit=3)

    assert [one.record_id for one in page.records] == ["r_cheap_19", "r_cheap_18", "r_cheap_17"]
