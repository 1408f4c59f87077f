"""Sums of usage: exact to the instant, from rollups where they can be."""

import asyncio
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

import penia_proxy.ledger.summary as ledger_summary
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.summary import Summary, Sums, TopUsage, cells_of
from tests.ledger.making import DEFAULT, NOON, budget, record

RECORDS = 300


def made() -> list[UsageRecord]:
    """Return records over four days, of every kind, always the same."""
    dice = random.Random(23)
    return [
        record(
            f"r_{number}",
            timestamp=NOON + timedelta(minutes=dice.uniform(-3_000, 3_000)),
            component=dice.choice(("rhetor", "apollo")),
            provider=dice.choice(("openai", "anthropic")),
            model=dice.choice(("small", "large")),
            task_type=dice.choice((None, "chat")),
            cost_basis=basis,
            cost_nanos=None if basis == "unpriced" else dice.randrange(10_000),
            usage=Usage(input=dice.randrange(50), cache_read=dice.randrange(9), output=dice.randrange(9), reasoning=1),
            budget_ids=dice.choice(((DEFAULT,), ("b_other", DEFAULT), ())),
            corrects="r_0" if number % 50 == 49 else None,
        )
        for number, basis in ((number, dice.choice(("reported", "estimated", "unpriced"))) for number in range(RECORDS))
    ]


@pytest.fixture
async def filled(ledger: Ledger) -> Ledger:
    """Write them all."""
    await ledger.save_budget(budget("b_other"))
    await asyncio.gather(*(ledger.settle(one) for one in made()))
    return ledger


def wanted(one: UsageRecord, asked: RecordFilter) -> bool:
    """Say whether a filter asks for a record."""
    return (
        (not asked.components or one.component in asked.components)
        and (not asked.providers or one.provider in asked.providers)
        and (not asked.models or one.model in asked.models)
        and (not asked.task_types or one.task_type in asked.task_types)
        and (not asked.cost_bases or one.cost_basis in asked.cost_bases)
        and (asked.budget_id is None or asked.budget_id in one.budget_ids)
        and (asked.start is None or one.timestamp >= asked.start)
        and (asked.end is None or one.timestamp < asked.end)
    )


def summed(records: list[UsageRecord]) -> Sums:
    """Add records up, one after another."""
    sums = Sums()
    for one in records:
        sums.request_count += one.corrects is None
        sums.input_tokens += one.usage.input_total
        sums.cache_read_tokens += one.usage.cache_read
        sums.output_tokens += one.usage.output_total
        sums.reasoning_tokens += one.usage.reasoning
        sums.cost_nanos += one.cost_nanos or 0
        sums.unpriced_count += one.cost_basis == "unpriced"
    return sums


def expected(asked: RecordFilter) -> Summary:
    """Sum up without a database."""
    records = [one for one in made() if wanted(one, asked)]
    groups: dict[Any, dict[str, Sums]] = {}
    for grouping in ("component", "provider", "model", "task_type"):
        values = {getattr(one, grouping) for one in records}
        groups[grouping] = {
            value or "": summed([one for one in records if getattr(one, grouping) == value]) for value in values
        }
    daily: Counter[str] = Counter()
    for one in records:
        daily[one.timestamp.date().isoformat()] += one.cost_nanos or 0
    return Summary(summed(records), groups, dict(sorted(daily.items())))


def at(text: str) -> datetime:
    """Return an instant of the month of the records."""
    return datetime.fromisoformat(f"2026-11-{text}Z")


SPANS = {
    "all time": RecordFilter(),
    "whole hours": RecordFilter(start=at("22T10:00"), end=at("24T20:00")),
    "broken hours at both ends": RecordFilter(start=at("22T10:17:31.5"), end=at("24T20:59:59.999999")),
    "a broken start": RecordFilter(start=at("23T00:30")),
    "a broken end": RecordFilter(end=at("23T00:30")),
    "within one hour": RecordFilter(start=at("23T12:10"), end=at("23T12:50")),
    "over one hour's end": RecordFilter(start=at("23T12:40"), end=at("23T13:20")),
    "nothing": RecordFilter(start=at("23T12:00"), end=at("23T12:00")),
    "the end before the start": RecordFilter(start=at("23T12:40"), end=at("23T09:20")),
    "groups": RecordFilter(components=("rhetor",), providers=("openai", "anthropic"), start=at("22T10:17")),
    "a task type": RecordFilter(task_types=("chat",), models=("large",), end=at("24T10:17")),
    "a budget": RecordFilter(budget_id="b_other", start=at("22T10:17")),
    "a basis": RecordFilter(cost_bases=("reported", "unpriced")),
}


@pytest.mark.parametrize("asked", SPANS.values(), ids=SPANS.keys())
async def test_a_summary_is_the_sum_of_its_records(filled: Ledger, asked: RecordFilter) -> None:
    """For every span and filter: totals, groups and days equal the records added up one by one."""
    found = await filled.summaries.summary(asked)

    assert found == expected(asked)


def test_the_records_are_worth_summing() -> None:
    """The spans above are not empty by accident."""
    counts = {name: expected(asked).totals.request_count for name, asked in SPANS.items()}

    assert counts["all time"] > counts["whole hours"] > counts["over one hour's end"] > 0
    assert counts["a budget"] > 0
    assert counts["nothing"] == counts["the end before the start"] == 0


async def test_an_empty_summary_has_the_same_shape(ledger: Ledger) -> None:
    """Without records: zeros, and no groups."""
    found = await ledger.summaries.summary(RecordFilter())

    assert found == Summary(Sums(), {"component": {}, "provider": {}, "model": {}, "task_type": {}}, {})


async def test_top_usage_is_what_costs_most(filled: Ledger) -> None:
    """The models are ranked by cost, as many as were asked for, under the same filters."""
    asked = RecordFilter(start=at("22T10:17"))
    best: dict[tuple[str, str], list[UsageRecord]] = {}
    for one in made():
        if wanted(one, asked):
            best.setdefault((one.model, one.provider), []).append(one)
    sums = {key: summed(records) for key, records in best.items()}
    ranked = sorted(sums.items(), key=lambda entry: -entry[1].cost_nanos)

    assert await filled.summaries.top_usage(asked, 3) == [
        TopUsage(*key, found.request_count, found.total_tokens, found.cost_nanos) for key, found in ranked[:3]
    ]
    assert await filled.summaries.top_usage(RecordFilter(components=("nobody",)), 3) == []


async def test_top_usage_rests_on_the_newest(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranking is of the newest matches, so that it does not cost more with each record."""
    monkeypatch.setattr(ledger_summary, "TOP_OF", 2)
    newest = [one for one in made() if one.provider == "openai"]
    newest.sort(key=lambda one: one.timestamp)

    found = await filled.summaries.top_usage(RecordFilter(providers=("openai",)), 3)

    assert sum(one.cost_nanos for one in found) == sum(one.cost_nanos or 0 for one in newest[-2:])
    assert {one.model for one in found} == {one.model for one in newest[-2:]}


@pytest.mark.fault("D5")
async def test_whole_hours_are_read_from_rollups() -> None:
    """A span of whole hours does not touch the records, so that a year's summary costs hours and not calls."""
    whole = str(cells_of(SPANS["whole hours"]).select())
    broken = str(cells_of(SPANS["broken hours at both ends"]).select())

    assert "usage_records" not in whole
    assert broken.count("FROM usage_records") == 2
    assert "rollups" in broken


@pytest.mark.parametrize("budget_id", [DEFAULT, "b_other"])
@pytest.mark.parametrize("minutes", [(-2_000, 2_000), (-1_997, 1_403), (10, 20), (-60, 0), (-2_990, 61)])
async def test_a_budgets_hours_are_those_of_its_records(
    filled: Ledger, budget_id: str, minutes: tuple[int, int]
) -> None:
    """From hourly windows where an hour is whole, and the same as from the records that were charged."""
    start, end = (NOON + timedelta(minutes=part) for part in minutes)
    asked = RecordFilter(budget_id=budget_id, start=start, end=end)

    hours = await filled.summaries.hours_of(budget_id, start, end)
    by_records = (await filled.summaries.series(asked, "hour", None)).get("", {})

    def shown(found: dict[datetime, Sums]) -> dict[datetime, tuple[int, ...]]:
        return {
            hour: (one.request_count, one.input_tokens, one.output_tokens, one.cost_nanos, one.unpriced_count)
            for hour, one in found.items()
        }

    assert hours is not None
    assert shown(hours) == shown(by_records)


async def test_hours_that_are_not_utcs_are_not_taken_for_them(ledger: Ledger) -> None:
    """A zone that is half an hour away has windows that no UTC hour is."""
    await ledger.save_budget(budget("b_india", timezone="Asia/Kolkata"))
    await ledger.settle(record("r_1", budget_ids=("b_india",)))

    assert await ledger.summaries.hours_of("b_india", NOON - timedelta(hours=5), NOON + timedelta(hours=5)) is None
