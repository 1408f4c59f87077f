"""
Say what could be saved without another model.

Its one job: from what calls used, sentences about caches that are not read, work that could wait, holds that are far
too large, and a model that ends.
Rules: each is a figure of these calls, and is left out where the calls do not show it. Nothing here is general advice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from statistics import median

from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.money import usd_text
from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import BATCH_TIER, Usage

CALLS_MIN = 5
"""Fewer calls show nothing."""

HELD_FAR_ABOVE = 10
"""Times what calls come to: an output cap that nobody uses holds money that other calls could have."""

REASONING_SHARE = 0.5


def tips(records: Sequence[UsageRecord], card: RateCard | None, facts: ModelFacts | None, today: date) -> list[str]:
    """Return what these calls, all of one model, show."""
    found = list(_of_the_model(facts, today))
    if len(records) >= CALLS_MIN:
        if card is not None:
            found += _of_prices([record.usage for record in records], card)
        found += _of_holds(records)
        found += _of_reasoning(records)
    return found


def _of_the_model(facts: ModelFacts | None, today: date) -> Iterator[str]:
    if facts is not None and facts.deprecated is not None:
        when = "has been" if facts.deprecated <= today else "will be"
        yield f"This model {when} retired by its provider on {facts.deprecated}."


def _of_prices(usages: Sequence[Usage], card: RateCard) -> Iterator[str]:
    cost = _cost(card, usages)
    written = sum(usage.cache_write_total for usage in usages)
    if written and not any(usage.cache_read_total for usage in usages):
        extra = cost - _cost(card, [_uncached(usage) for usage in usages])
        if extra > 0:
            yield (
                f"{len(usages)} calls wrote {written:,} tokens to a cache that none of them read: not caching would"
                f" have saved ${usd_text(extra)}."
            )
    waiting = cost - _cost(card, [usage.with_tier(BATCH_TIER) for usage in usages])
    if waiting > 0:
        yield f"If these {len(usages)} calls can wait, a batch costs ${usd_text(waiting)} less."


def _of_holds(records: Sequence[UsageRecord]) -> Iterator[str]:
    times = [one.estimated_nanos / one.cost_nanos for one in records if one.estimated_nanos and one.cost_nanos]
    if len(times) >= CALLS_MIN and (typical := median(times)) >= HELD_FAR_ABOVE:
        yield (
            f"What is held for a call is {typical:,.0f} times what it comes to: a smaller output cap would leave room"
            " for more calls at a time."
        )


def _of_reasoning(records: Sequence[UsageRecord]) -> Iterator[str]:
    output = sum(record.usage.output_total for record in records)
    hidden = sum(record.usage.reasoning for record in records)
    if output and hidden / output >= REASONING_SHARE:
        yield f"{hidden / output:.0%} of the output is reasoning that is not shown: a lower effort makes less of it."


def _uncached(usage: Usage) -> Usage:
    plain = usage.input + usage.cache_write_total
    return replace(usage, input=plain, cache_write=0, cache_write_1h=0, cache_write_12h=0)


def _cost(card: RateCard, usages: Sequence[Usage]) -> int:
    return sum(card.price(usage).total_nanos for usage in usages)
