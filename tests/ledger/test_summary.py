"""Sums of usage: exact to the instant, however much of them is folded."""

import asyncio
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import pytest

import penia_proxy.ledger.summary as ledger_summary
from penia_proxy.budget.reconciliation import Captured
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.ledger import folding
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.summary import Bucket, Summary, Sums, TopUsage
from tests.ledger.making import DEFAULT, NOON, StillClock, budget, record

RECORDS = 300


def made() -> list[UsageRecord]:
    """Return records of every kind, half of them over four days and half over two years, always the same."""
    dice = random.Random(23)
    return [
        record(
            f"r_{number}",
            timestamp=NOON + timedelta(minutes=dice.uniform(-3_000, 3_000) if number % 2 else -dice.uniform(0, 10**6)),
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


STATES = {
    "nothing is folded": (RECORDS, 0),
    "some is folded": (RECORDS, 20),
    "all is folded": (RECORDS, RECORDS),
    "some was folded before the rest came": (RECORDS // 2, 5),
    "what was there was folded before the rest came": (RECORDS // 2, RECORDS),
}
"""How many records come before how many steps of folding; the others after."""


@pytest.fixture(params=STATES.values(), ids=STATES.keys())
async def filled(
    ledger: Ledger, clock: StillClock, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Ledger:
    """Write them all, some days after the last of them."""
    early, steps = request.param
    monkeypatch.setattr(folding, "CELLS_AT_ONCE", 4)
    clock.instant = NOON + timedelta(days=3)
    await ledger.save_budget(budget("b_other"))
    await asyncio.gather(*(ledger.settle(one) for one in made()[:early]))
    while steps and await ledger.fold():
        steps -= 1
    await asyncio.gather(*(ledger.settle(one) for one in made()[early:]))
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
        sums.output_tokens += one.usage.output_total
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
    "since 1970": RecordFilter(start=datetime.fromtimestamp(0, UTC), end=datetime.fromisoformat("2099-01-01T00Z")),
    "before all": RecordFilter(end=datetime.fromisoformat("2020-01-01T00Z")),
    "after all": RecordFilter(start=datetime.fromisoformat("2027-01-01T00:30Z")),
    "a year": RecordFilter(
        start=datetime.fromisoformat("2025-01-01T00Z"), end=datetime.fromisoformat("2026-01-01T00Z")
    ),
    "months, and a day": RecordFilter(start=datetime.fromisoformat("2025-11-30T00Z"), end=at("03T00:00")),
    "days": RecordFilter(start=datetime.fromisoformat("2026-08-07T00Z"), end=at("25T00:00")),
    "days to the end": RecordFilter(start=at("22T00:00")),
    "a day of another time zone": RecordFilter(start=at("22T18:15"), end=at("23T18:15")),
    "days of another time zone": RecordFilter(start=datetime.fromisoformat("2026-08-07T18:15Z"), end=at("24T18:15")),
    "whole hours": RecordFilter(start=at("22T10:00"), end=at("24T20:00")),
    "broken hours at both ends": RecordFilter(start=at("22T10:17:31.5"), end=at("24T20:59:59.999999")),
    "a broken start": RecordFilter(start=at("23T00:30")),
    "a broken end": RecordFilter(end=at("23T00:30")),
    "within one hour": RecordFilter(start=at("23T12:10"), end=at("23T12:50")),
    "over one hour's end": RecordFilter(start=at("23T12:40"), end=at("23T13:20")),
    "nothing": RecordFilter(start=at("23T12:00"), end=at("23T12:00")),
    "the end before the start": RecordFilter(start=at("23T12:40"), end=at("23T09:20")),
    "a component's months": RecordFilter(components=("apollo",), start=datetime.fromisoformat("2025-11-30T00Z")),
    "groups": RecordFilter(components=("rhetor",), providers=("openai", "anthropic"), start=at("22T10:17")),
    "a task type": RecordFilter(task_types=("chat",), models=("large",), end=at("24T10:17")),
    "a budget": RecordFilter(budget_id="b_other", start=at("22T10:17")),
    "a budget's months": RecordFilter(budget_id="b_other", start=datetime.fromisoformat("2025-11-30T00Z")),
    "a budget's models": RecordFilter(budget_id=DEFAULT, models=("large",), end=at("24T10:17")),
    "a budget's basis": RecordFilter(budget_id=DEFAULT, cost_bases=("estimated",), start=at("03T10:17")),
    "a budget of nothing": RecordFilter(budget_id="b_nothing"),
    "a basis": RecordFilter(cost_bases=("reported", "unpriced")),
    "a basis of a component": RecordFilter(cost_bases=("unpriced",), components=("apollo",), start=at("22T10:17")),
}


async def test_a_summary_is_the_sum_of_its_records(filled: Ledger) -> None:
    """For every span and filter: totals, groups and days equal the records added up one by one."""
    for name, asked in SPANS.items():
        assert await filled.summaries.summary(asked) == expected(asked), name


def in_time(records: list[UsageRecord], bucket: str) -> dict[datetime, Sums]:
    """Add records up by bucket."""
    starts: dict[datetime, list[UsageRecord]] = {}
    for one in records:
        start = one.timestamp.replace(minute=0, second=0, microsecond=0)
        starts.setdefault(start if bucket == "hour" else start.replace(hour=0), []).append(one)
    return {start: summed(its) for start, its in starts.items()}


@pytest.mark.parametrize(
    "asked", [SPANS["days of another time zone"], SPANS["groups"], SPANS["a budget"], SPANS["a basis"]]
)
async def test_a_series_is_the_sum_of_its_records(filled: Ledger, asked: RecordFilter) -> None:
    """For every bucket: the records added up one by one; of groups the dearest, and all others as one."""
    records = [one for one in made() if wanted(one, asked)]
    names = {one.model for one in records}
    dear, cheap = sorted(names, key=lambda name: -summed([one for one in records if one.model == name]).cost_nanos)
    for bucket in get_args(Bucket):
        of = {name: in_time([one for one in records if one.model == name], bucket) for name in names}

        assert await filled.summaries.series(asked, bucket) == in_time(records, bucket)
        for most, lines in ((1, {dear: of[dear], None: of[cheap]}), (2, of), (3, of)):
            found = await filled.summaries.series_of_groups(asked, bucket, "model", most)
            assert (found, next(iter(found))) == (lines, dear)


async def test_what_was_captured_is_by_day_and_model(filled: Ledger) -> None:
    """Of one provider, in order: what its records of each day and model add up to."""
    asked = RecordFilter(providers=("openai",), start=at("20T00:00"), end=at("25T00:00"))
    found: dict[tuple[date, str], list[UsageRecord]] = {}
    for one in made():
        if wanted(one, asked):
            found.setdefault((one.timestamp.date(), one.model), []).append(one)
    sums = {key: summed(records) for key, records in sorted(found.items())}

    assert await filled.summaries.by_day_and_model(asked) == [
        Captured(*key, one.cost_nanos, one.request_count, one.unpriced_count) for key, one in sums.items()
    ]


def test_the_records_are_worth_summing() -> None:
    """The spans above are not empty by accident."""
    counts = {name: expected(asked).totals.request_count for name, asked in SPANS.items()}

    assert counts["all time"] > counts["days"] > counts["a component's months"] > counts["a year"] > 0
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


async def test_hours_of_components_are_those_in_which_they_spent(filled: Ledger) -> None:
    """By component, what each of its hours cost, in a span and in one hour; its calls of one hour are one."""
    start, end = at("22T10:00"), at("24T20:00")
    hours: dict[str, Counter[datetime]] = {}
    for one in made():
        hour = one.timestamp.replace(minute=0, second=0, microsecond=0)
        hours.setdefault(one.component, Counter())[hour] += one.cost_nanos or 0
    found = await filled.summaries.hours_of_components(start, end)

    assert {name: sorted(its) for name, its in found.items()} == {
        name: sorted(nanos for hour, nanos in its.items() if start <= hour < end) for name, its in hours.items()
    }
    assert await filled.summaries.hour_of_components(at("23T12:00")) == {
        name: its[at("23T12:00")] for name, its in hours.items() if at("23T12:00") in its
    }


@pytest.mark.parametrize("budget_id", [DEFAULT, "b_other"])
@pytest.mark.parametrize("minutes", [(-2_000, 2_000), (-1_997, 1_403), (10, 20), (-60, 0), (-2_990, 61)])
async def test_a_budgets_hours_are_those_of_its_records(
    filled: Ledger, budget_id: str, minutes: tuple[int, int]
) -> None:
    """From hourly windows where an hour is whole, and the same as from the records that were charged."""
    start, end = (NOON + timedelta(minutes=part) for part in minutes)
    asked = RecordFilter(budget_id=budget_id, start=start, end=end)

    hours = await filled.summaries.hours_of(budget_id, start, end)
    by_records = await filled.summaries.series(asked, "hour")

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
