"""
Count money.

Its one job: nano-dollars (10⁻⁹ USD) as integers inside, USD as JSON numbers outside.
Rules: a cost is rounded once, half-even, when it becomes nano-dollars; a hold is rounded up, so that it never falls
below the bound it stands for. Floats exist only in ``usd``'s result and ``nanos_of_usd``'s argument.
"""

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

from penia_proxy.config import USD_MAX

NANOS_PER_USD = 1_000_000_000

CALL_NANOS_MAX = 10**15
"""
A million USD: no call costs it, so that nothing is held or booked for one beyond; nine thousand of them still add up
inside 64 bits.
"""


def nanos_of(usd: Decimal) -> int:
    """Round USD half-even to nano-dollars."""
    return int((usd * NANOS_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def nanos_ceiling(usd: Decimal) -> int:
    """Round USD up to nano-dollars: for holds."""
    return int((usd * NANOS_PER_USD).to_integral_value(rounding=ROUND_CEILING))


def nanos_of_usd(usd: float) -> int:
    """
    Take a JSON number in USD as the nano-dollars it was written as (0.1 is exactly 100,000,000).

    Raises ValueError for NaN, infinities and amounts beyond ±USD_MAX.
    """
    if not math.isfinite(usd) or abs(usd) > USD_MAX:
        raise ValueError(f"not an amount of money: {usd}")
    return nanos_of(Decimal(repr(usd)))


def usd(nanos: int) -> float:
    """Return USD for the JSON edge; exact to the nano-dollar up to 2²³ USD (8 million)."""
    return nanos / NANOS_PER_USD


def usd_text(nanos: int) -> str:
    """Return USD as decimal text for a header, exact, without an exponent: ``0.0001234``."""
    if nanos < 0:
        return "-" + usd_text(-nanos)
    whole, rest = divmod(nanos, NANOS_PER_USD)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)
