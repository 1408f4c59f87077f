"""
Show all that is known of one model's prices.

Its one job: `GET /api/v1/prices/details`: every unit and tier, what comes from the catalogue and what from
``pricing/``, which dated entries there are, and what an example call costs.
Rules: the price book decides. Without a provider it is asked of the configured ones, or else of all; who knows a model
by name goes before who takes any name. A price that is not known is a 404, never a 0.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Filter, Instant, Name, Nothing, Sent, Shown, Tokens
from penia_proxy.api.prices import PriceThen, UnitPrice, rate_json, stretch_json
from penia_proxy.api.services import Services
from penia_proxy.budget.money import usd
from penia_proxy.budget.overrides import Override, Share
from penia_proxy.budget.prices import PriceDetail
from penia_proxy.budget.ratecard import Context, Prices, Rate, RateCard
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import iso
from penia_proxy.errors import NotFound
from penia_proxy.wire.regions import region_of

EXAMPLE_INPUT = 10_000
EXAMPLE_OUTPUT = 1_000


class DetailsQuery(Sent):
    """Which model. Without `at`: now. The example call has so many tokens, none of them cached."""

    model: Name
    provider: Annotated[Filter | None, Field(description="As configured, or a catalogue's name.")] = None
    at: Instant | None = None
    input_tokens: Tokens = EXAMPLE_INPUT
    output_tokens: Tokens = EXAMPLE_OUTPUT


class SourcedPrice(UnitPrice):
    source: Annotated[str, Field(description="`catalogue`, or `override`: pricing/ says so.")]


class ContextPrices(Shown):
    """The prices of answers that say so; all null: the standard ones."""

    service_tier: str | None
    speed: str | None
    inference_geo: str | None
    search_size: str | None
    prices: Annotated[dict[str, SourcedPrice], Field(description="By the catalogue's price key.")]
    example_cost: Annotated[float | None, Field(description="USD; null: tokens have no price there.")]


class EntryShown(Shown):
    """An entry of `pricing/` about the model."""

    matches: str
    start_date: Annotated[str | None, Field(description="The first day, in UTC; null: since ever.")]
    days: Annotated[list[int], Field(description="Of the week, Monday is 0; empty: every day.")]
    when: Annotated[dict[str, str], Field(description="What an answer, or `region` the call, must say.")]
    prices: Annotated[dict[str, str], Field(description="What it sets, in words.")]
    multiply: float | None
    only_if_missing: bool
    applies: Annotated[bool, Field(description="At the instant asked about, and where the provider is.")]
    source: str


class PriceDetails(Shown):
    """All that is known of a model's prices at one provider."""

    provider: str
    catalogue: Annotated[str, Field(description="The provider's name in the price book.")]
    model: Annotated[str, Field(description="What it is priced as: the catalogue's id, or an entry's pattern.")]
    by_name: Annotated[bool, Field(description="False: a pattern only, which takes other names as well.")]
    context_window: int | None
    source: str
    contexts: Annotated[list[ContextPrices], Field(description="The standard prices first.")]
    at_least: Annotated[dict[str, int], Field(description="The fewest units that a call with any is billed for.")]
    entries: list[EntryShown]
    history: list[PriceThen]


class DetailsList(Shown):
    """By provider."""

    model: str
    at: datetime
    pricing_version: str
    input_tokens: int
    output_tokens: int
    items: list[PriceDetails]


async def details(call: Call[DetailsQuery, Nothing]) -> dict[str, Any]:
    """Show all that is known of a model's prices, by provider."""
    services, query = call.services, call.query
    at = query.at or services.clock.now()
    # Forty providers may have to be asked, and each may compile a card: not on the event loop.
    found = await asyncio.to_thread(_found, services, query, at)
    if not found:
        raise NotFound("No price is known for this model.")
    usage = Usage(input=query.input_tokens, output=query.output_tokens)
    return {
        "model": query.model,
        "at": iso(at),
        "pricing_version": services.prices.version,
        "input_tokens": query.input_tokens,
        "output_tokens": query.output_tokens,
        "items": [_shown(services, provider, query.model, detail, usage) for provider, detail in found],
    }


def _found(services: Services, query: DetailsQuery, at: datetime) -> list[tuple[str, PriceDetail]]:
    """Return what the provider asked about says; else those that know the name, else those that take any."""
    if query.provider:
        return list(_asked(services, [query.provider], query.model, at))
    configured = list(_asked(services, services.config.providers, query.model, at))
    if not any(detail.by_name for _, detail in configured):
        others = sorted(services.prices.providers - {services.catalogue_of(name) for name in services.config.providers})
        configured += [one for one in _asked(services, others, query.model, at) if one[1].by_name]
    named = [one for one in configured if one[1].by_name]
    return named or configured


def _asked(services: Services, providers: Iterable[str], model: str, at: datetime) -> Iterator[tuple[str, PriceDetail]]:
    for name in providers:
        config = services.config.providers.get(name)
        priced_as = config.priced_as(model) if config else model
        region = region_of(config.base_url, config.region) if config else None
        detail = services.prices.detail(services.catalogue_of(name), priced_as, at, region=region)
        if detail is not None:
            yield name, detail


def _shown(services: Services, provider: str, asked: str, detail: PriceDetail, usage: Usage) -> dict[str, Any]:
    card, catalogue = detail.card, services.catalogue_of(provider)
    configured = services.config.providers.get(provider)
    stretches = services.prices.history(catalogue, configured.priced_as(asked) if configured else asked)
    return {
        "provider": provider,
        "catalogue": catalogue,
        "model": card.model,
        "by_name": detail.by_name,
        "context_window": card.context_window,
        "source": card.source,
        "contexts": [
            {
                "service_tier": context.tier,
                "speed": context.speed,
                "inference_geo": context.geo,
                "search_size": context.search,
                "prices": prices,
                "example_cost": _cost(card, _said(usage, context)),
            }
            for context, prices in _distinct(detail)
        ],
        "at_least": dict(card.at_least),
        "entries": [_entry(entry, applies=applies) for entry, applies in detail.entries],
        "history": [stretch_json(stretch, services.prices.version) for stretch in stretches],
    }


def _distinct(detail: PriceDetail) -> list[tuple[Context, dict[str, Any]]]:
    """Return the standard prices, and those of contexts in which something costs another amount."""
    standard = detail.contexts[Context()][0]
    return [
        (context, _sourced(prices, plain))
        for context, (prices, plain) in detail.contexts.items()
        if context == Context() or prices != standard
    ]


def _sourced(prices: Prices, plain: Mapping[str, Rate]) -> dict[str, Any]:
    return {
        key: {**rate_json(key, rate), "source": "catalogue" if plain.get(key) == rate else "override"}
        for key, rate in prices.items()
    }


def _cost(card: RateCard, usage: Usage) -> float | None:
    price = card.price(usage)
    return None if {"input", "output"} & set(price.unrated) else usd(price.total_nanos)


def _said(usage: Usage, context: Context) -> Usage:
    """Return a usage whose answer says what the context is."""
    return replace(
        usage,
        service_tier=context.tier,
        speed=context.speed,
        inference_geo=context.geo,
        search_size=context.search,
    )


def _entry(entry: Override, *, applies: bool) -> dict[str, Any]:
    return {
        "matches": entry.match.pattern,
        "start_date": None if entry.start == date.min else str(entry.start),
        "days": sorted(entry.days),
        "when": entry.when.model_dump(exclude_none=True),
        "prices": {key: _words(rate) for key, rate in entry.prices.items()},
        "multiply": None if entry.multiply is None else float(entry.multiply),
        "only_if_missing": entry.only_if_missing,
        "applies": applies,
        "source": entry.source,
    }


def _words(rate: Rate | Share) -> str:
    if isinstance(rate, Share):
        return f"{rate.times} × {rate.of}"
    return ", ".join([str(rate.base), *_tiers(rate.tiers)])


def _tiers(tiers: Sequence[tuple[int, Any]]) -> list[str]:
    return [f"{price} above {start:,}" for start, price in tiers]


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/prices/details",
        handler=details,
        tag="prices",
        query=DetailsQuery,
        response=DetailsList,
        errors=(NotFound,),
    ),
)
