"""
Read the price catalogue.

Its one job: what genai-prices' bundled data say about one model: its prices in a context, what can change them, and
whether they can be right.
Rules: the library's types end here, but for the models that `prices` hands back. Nothing of ours overrides anything
here.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from penia_proxy.budget.overrides import PRICE_MAX
from penia_proxy.budget.ratecard import Context, Prices, Rate
from penia_proxy.budget.units import UNITS


def prices_at(info: ModelInfo | None, at: datetime, context: Context = Context()) -> Prices:  # noqa: B008 - a value
    """Return a model's prices at an instant, as an answer of this context has them; {} for no model."""
    if info is None:
        return {}
    return _prices_of(info.get_prices(at, _said(context)) if context != Context() else info.get_prices(at))


def variants(info: ModelInfo | None) -> Iterator[Context]:
    """Yield what an answer can say that the catalogue has other prices for."""
    for variant in (info.price_variants or ()) if info else ():
        tier = "batch" if variant.when.get("processing") == "batch" else variant.when.get("service_tier")
        yield Context(tier=tier, speed=variant.when.get("speed"))


def constraints(info: ModelInfo | None) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    """Yield the dates and times of day at which a model's prices change."""
    for conditional in (*_conditional(info), *(info.price_variants or ())) if info else ():
        if conditional.constraint is not None:
            yield conditional.constraint


def refused(providers: Sequence[Provider]) -> Iterator[str]:
    """Yield ``provider/model`` of entries with a negative or absurd price."""
    for provider in providers:
        for info in provider.models:
            prices = [one.prices for one in _conditional(info)] + [one.prices for one in info.price_variants or ()]
            if not all(_is_sane(value) for one in prices for value in vars(one).values() if value is not None):
                yield f"{provider.id}/{info.id}"


def _said(context: Context) -> dict[str, str]:
    """Return a context in the catalogue's words. Anthropic's tier ``batch`` is the catalogue's ``processing``."""
    said = {"speed": context.speed, "service_tier": context.tier}
    if context.tier == "batch":
        said["processing"] = "batch"
    return {key: value for key, value in said.items() if value is not None}


def _conditional(info: ModelInfo) -> Sequence[ConditionalPrice]:
    return info.prices if isinstance(info.prices, list) else [ConditionalPrice(prices=info.prices)]


def _prices_of(prices: ModelPrice) -> dict[str, Rate]:
    return {
        key: Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
        if isinstance(value, TieredPrices)
        else Rate(value)
        for key, value in vars(prices).items()
        if value is not None and key in UNITS
    }


def _is_sane(value: Decimal | TieredPrices) -> bool:
    if isinstance(value, TieredPrices):
        return all(_is_sane(price) for price in (value.base, *(tier.price for tier in value.tiers)))
    return value.is_finite() and 0 <= value <= PRICE_MAX
