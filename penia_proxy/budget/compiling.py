"""
Compile a model's prices.

Its one job: prices per unit, in every context, to a `RateCard`: one rate for each count, in integers over one common
denominator.
Rule: what has no price of its own is priced by the most specific unit that covers it; of equals the dearest.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, product

from penia_proxy.budget.money import NANOS_PER_USD
from penia_proxy.budget.ratecard import COUNT_MAX, Band, Context, Possible, Prices, RateCard
from penia_proxy.budget.units import INPUT_DIMENSIONS, OUTPUT_DIMENSIONS, REQUESTS, UNITS, Dimensions
from penia_proxy.budget.usage import INPUT_COUNTS, OUTPUT_COUNTS


def compile_card(
    *,
    provider: str,
    model: str,
    context_window: int | None,
    source: str,
    contexts: Mapping[Context, Prices],
    at_least: Mapping[str, int],
) -> RateCard:
    """Compile prices. ``contexts`` holds ``Context()``, the standard one, and every combination of other values."""
    standard = contexts[Context()]
    nanos = [
        _nanos(key, amount)
        for prices in contexts.values()
        for key, rate in prices.items()
        for amount in (rate.base, *(price for _, price in rate.tiers))
    ]
    denominator = math.lcm(*(amount.denominator for amount in nanos))
    bands = {context: tuple(_bands(prices, denominator)) for context, prices in contexts.items()}
    return RateCard(
        provider=provider,
        model=model,
        context_window=context_window,
        source=source,
        prices=standard,
        is_free=bool(nanos) and not any(nanos),
        unbounded_units=tuple(
            sorted(UNITS[key].usage_key for key in standard if not UNITS[key].is_tokens and key != REQUESTS)
        ),
        highest_tier_above=max(band.above for its in bands.values() for band in its),
        at_least=at_least,
        _denominator=denominator,
        _bands=bands,
        _tiers=frozenset(context.tier for context in contexts if context.tier is not None),
        _speeds=frozenset(context.speed for context in contexts if context.speed is not None),
        _geos=frozenset(context.geo for context in contexts if context.geo is not None),
        _searches=frozenset(context.search for context in contexts if context.search is not None),
    )


def _nanos(key: str, price: Decimal) -> Fraction:
    """Return nano-dollars per single unit."""
    return Fraction(price) * NANOS_PER_USD / UNITS[key].per


def _bands(prices: Prices, denominator: int) -> Iterable[Band]:
    starts = sorted({start for rate in prices.values() for start, _ in rate.tiers})
    for above, up_to in pairwise((-1, *starts, COUNT_MAX * len(INPUT_COUNTS))):
        scaled = {key: int(_nanos(key, rate.at(above + 1)) * denominator) for key, rate in prices.items()}
        inputs = {name: scaled.get(_priced_by(INPUT_DIMENSIONS[name], scaled)) for name in INPUT_COUNTS}
        outputs = {name: scaled.get(_priced_by(OUTPUT_DIMENSIONS[name], scaled)) for name in OUTPUT_COUNTS}
        yield Band(
            above=above,
            up_to=up_to,
            input=tuple(inputs.values()),
            output=tuple(outputs.values()),
            units={
                unit.usage_key: (scaled[priced], UNITS[priced].direction)
                for key, unit in UNITS.items()
                if not unit.is_tokens and key != REQUESTS and (priced := _priced_by(unit.dimensions, scaled))
            },
            request=scaled.get(REQUESTS, 0),
            dearest={
                possible: (_dearest(inputs, possible), _dearest(outputs, possible))
                for possible in map(Possible._make, product((False, True), repeat=len(Possible._fields)))
            },
        )


def _priced_by(dimensions: Dimensions, scaled: Mapping[str, int]) -> str:
    """Return the price key of the most specific priced unit that covers a count; of equals, the dearest; or nothing."""
    covering = [
        (len(UNITS[key].dimensions), rate, key) for key, rate in scaled.items() if UNITS[key].dimensions <= dimensions
    ]
    return max(covering)[2] if covering else ""


def _dearest(rates: Mapping[str, int | None], possible: Possible) -> int:
    return max(rate or 0 for name, rate in rates.items() if not possible.excludes(name))
