"""
Lay prices over prices.

Its one job: what an entry of ``pricing/`` makes of the prices below it: set, a multiple of another, multiplied.
Rule: exact decimals; what is a multiple of a price that is not there is no price.
"""

from collections.abc import Mapping
from decimal import Context as Arithmetic
from decimal import Decimal

from penia_proxy.budget.overrides import Override, Share
from penia_proxy.budget.ratecard import Prices, Rate
from penia_proxy.budget.units import UNITS

_EXACT = Arithmetic(prec=60)


def fill(prices: dict[str, Rate | Share], entry: Override, known: Prices) -> None:
    """Lay an entry's prices over those below; ``known`` are the catalogue's own, to which it may give way."""
    for key, rate in entry.prices.items():
        if entry.only_if_missing and key in known:
            continue
        if not isinstance(rate, Share) or rate.of != key:
            prices[key] = rate
        elif (below := resolved(rate, prices)) is not None:
            prices[key] = below  # a multiple of what it was


def resolved(rate: Rate | Share, prices: Mapping[str, Rate | Share]) -> Rate | None:
    """Return a price as numbers; None for a multiple of a price that is not there."""
    if isinstance(rate, Rate):
        return rate
    base = prices.get(rate.of)
    return _times(base, rate.times) if isinstance(base, Rate) else None


def multiplied(key: str, rate: Rate, factor: Decimal) -> Rate:
    """Return a price times a factor, where the unit is tokens; others stay."""
    return _times(rate, factor) if UNITS[key].is_tokens else rate


def _times(rate: Rate, factor: Decimal) -> Rate:
    return Rate(
        _EXACT.multiply(rate.base, factor),
        tuple((start, _EXACT.multiply(price, factor)) for start, price in rate.tiers),
    )
