"""
Show what models cost.

Its one job: `/api/v1/prices`: the price list, one model's price now and earlier, what tokens cost, reading all anew.
Rules: the price book decides; nothing is priced here. A price that is not known is a 404, never a 0.
"""

import asyncio
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint, wrong_field
from penia_proxy.api.fields import Filter, Instant, Name, Nothing, Page, Paged, Sent, Shown, Tokens
from penia_proxy.api.services import Services
from penia_proxy.budget.money import usd
from penia_proxy.budget.prices import ModelPrices, Rate, RateCard, Stretch
from penia_proxy.budget.ratecard import Prices
from penia_proxy.budget.units import UNITS
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import ConfigError, NotFound


class Tier(Shown):
    above: Annotated[int, Field(description="Prices the whole call once its input exceeds this many tokens.")]
    cost: float


class UnitPrice(Shown):
    cost: Annotated[float, Field(description="USD for `per` units")]
    per: int
    tiers: list[Tier]


class PriceShown(Shown):
    """One model's standard prices. Costs are USD."""

    provider: str
    model: str
    name: str | None
    input_cost_per_token: float | None
    output_cost_per_token: float | None
    cache_read_cost_per_token: float | None
    cache_write_cost_per_token: float | None
    prices: Annotated[dict[str, UnitPrice], Field(description="Every price, by the catalogue's price key.")]
    context_window: int | None
    source: str
    version: str


class Cost(Shown):
    """What tokens cost. USD."""

    provider: str
    model: str
    input_cost: float
    output_cost: float
    total_cost: float
    pricing_version: str


class PriceThen(PriceShown):
    """Prices, and the days on which they hold."""

    start_date: Annotated[str | None, Field(description="The first day, in UTC; null: since ever.")]
    end_date: Annotated[str | None, Field(description="The day before which they end; null: as far as is known.")]
    varies: Annotated[
        bool, Field(description="Other prices hold at some hours or on some weekdays; these are of the first midnight.")
    ]


class PriceHistory(Shown):
    """What a model cost, oldest first."""

    items: list[PriceThen]


class Refreshed(Shown):
    """The prices in force, read again."""

    changed: bool
    version: str
    previous_version: str


class PricesQuery(Paged):
    provider: Filter | None = None
    model: Filter | None = None


class PriceBody(Sent):
    """Which model. Without `timestamp`: the price of this moment."""

    provider: Name
    model: Name
    timestamp: Instant | None = None


class CostBody(PriceBody):
    """Which model, and how much of it. `input_tokens` is all input, cached included."""

    input_tokens: Tokens
    output_tokens: Tokens = 0
    cache_read_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0


async def list_prices(call: Call[PricesQuery, Nothing]) -> dict[str, Any]:
    """List the prices in force, by provider and model."""
    services, query = call.services, call.query
    provider = services.catalogue_of(query.provider) if query.provider else None
    # Some 20 ms for the whole catalogue: not on the event loop.
    lines = await asyncio.to_thread(services.prices.models, provider, services.clock.now())
    if query.model:
        lines = [line for line in lines if line.model == query.model]
        if not lines and query.provider:
            # Not a catalogue's id, but perhaps one of a model's other names.
            card = services.card(query.provider, query.model, services.clock.now())
            lines = [] if card is None else [_line(card)]
    first = (query.page - 1) * query.limit
    return {
        "items": [price_json(line, services.prices.version) for line in lines[first : first + query.limit]],
        "total": len(lines),
        "page": query.page,
        "limit": query.limit,
    }


async def current_price(call: Call[Nothing, PriceBody]) -> dict[str, Any]:
    """Show one model's price."""
    return price_json(_line(_card(call.services, call.body)), call.services.prices.version)


async def price_history(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show what a model has cost, and from when on."""
    services = call.services
    provider, model = call.path["provider"], call.path["model"]
    configured = services.config.providers.get(provider)
    name = configured.priced_as(model) if configured else model
    stretches = services.prices.history(services.catalogue_of(provider), name)
    if not stretches:
        raise NotFound("No price is known for this model.")
    return {"items": [stretch_json(stretch, services.prices.version) for stretch in stretches]}


async def refresh(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Read the price overrides again; the catalogue comes with the package, and changes with a restart."""
    before = call.services.prices.version
    await call.services.refresh()
    now = call.services.prices.version
    return {"changed": now != before, "version": now, "previous_version": before}


async def calculate(call: Call[Nothing, CostBody]) -> dict[str, Any]:
    """Calculate what tokens cost."""
    body = call.body
    cached = body.cache_read_tokens + body.cache_write_tokens
    if cached > body.input_tokens:
        raise wrong_field("input_tokens", "must include the cached tokens")
    usage = Usage(
        input=body.input_tokens - cached,
        cache_read=body.cache_read_tokens,
        cache_write=body.cache_write_tokens,
        output=body.output_tokens,
    )
    card = _card(call.services, body)
    price = card.price(usage)
    return {
        "provider": body.provider,
        "model": card.model,
        "input_cost": usd(price.input_nanos),
        "output_cost": usd(price.total_nanos - price.input_nanos),
        "total_cost": usd(price.total_nanos),
        "pricing_version": call.services.prices.version,
    }


def price_json(line: ModelPrices, version: str) -> dict[str, Any]:
    """Return a line of the price list."""
    return {
        "provider": line.provider,
        "model": line.model,
        "name": line.name,
        "input_cost_per_token": _per_token(line.prices, "input_mtok"),
        "output_cost_per_token": _per_token(line.prices, "output_mtok"),
        "cache_read_cost_per_token": _per_token(line.prices, "cache_read_mtok"),
        "cache_write_cost_per_token": _per_token(line.prices, "cache_write_mtok"),
        "prices": {key: rate_json(key, rate) for key, rate in line.prices.items()},
        "context_window": line.context_window,
        "source": line.source,
        "version": version,
    }


def stretch_json(stretch: Stretch, version: str) -> dict[str, Any]:
    """Return a stretch of time and what held then."""
    return {
        **price_json(stretch.line, version),
        "start_date": None if stretch.start is None else str(stretch.start),
        "end_date": None if stretch.end is None else str(stretch.end),
        "varies": stretch.by_the_clock,
    }


def rate_json(key: str, rate: Rate) -> dict[str, Any]:
    """Return a price by its key."""
    tiers = [{"above": start, "cost": float(price)} for start, price in rate.tiers]
    return {"cost": float(rate.base), "per": UNITS[key].per, "tiers": tiers}


def _per_token(prices: Prices, key: str) -> float | None:
    rate = prices.get(key)
    return None if rate is None else float(rate.base / Decimal(UNITS[key].per))


def _card(services: Services, body: PriceBody) -> RateCard:
    at = body.timestamp or services.clock.now()
    card = services.card(body.provider, body.model, at)
    if card is None:
        raise NotFound("No price is known for this model.")
    return card


def _line(card: RateCard) -> ModelPrices:
    return ModelPrices(card.provider, card.model, None, card.prices, card.context_window, card.source)


_PATH = "/api/v1/prices"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_prices,
        tag="prices",
        query=PricesQuery,
        response=Page[PriceShown],
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/current",
        handler=current_price,
        tag="prices",
        body=PriceBody,
        response=PriceShown,
        errors=(NotFound,),
    ),
    Endpoint(
        method="GET",
        path=_PATH + "/history/{provider}/{model}",
        handler=price_history,
        tag="prices",
        response=PriceHistory,
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/refresh",
        handler=refresh,
        tag="prices",
        response=Refreshed,
        errors=(ConfigError,),
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/calculate",
        handler=calculate,
        tag="prices",
        body=CostBody,
        response=Cost,
        errors=(NotFound,),
    ),
)
