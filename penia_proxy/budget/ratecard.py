"""
Price one model's usage.

Its one job: prices per unit, compiled once, against counts: what a usage costs, and the most that counts can cost.
Rules: pricing never raises and never rounds twice; arithmetic is exact (integers over one common denominator), so no
decimal context can change a cent. ``price`` and ``most`` share the compiled rates, so a bound cannot forget a price.
Which prices are in force, and where they come from, is not known here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from genai_prices.data_units import unit_data

from penia_proxy.budget.money import NANOS_PER_USD
from penia_proxy.budget.usage import Usage

COUNT_MAX = 10**12
"""The largest count that is believed: beyond it a report is nonsense, and sums would leave 64 bits."""


class Rate(NamedTuple):
    """USD per `Unit.per` units. A tier ``(start, price)`` prices a whole call whose input exceeds ``start`` tokens."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """Return the price for a call with this much input."""
        price = self.base
        for start, tier_price in self.tiers:
            if input_tokens > start:
                price = tier_price
        return price


class Context(NamedTuple):
    """What of a response selects its price. None is standard."""

    tier: str | None = None
    speed: str | None = None
    geo: str | None = None


Prices = Mapping[str, Rate]
"""By price key (``input_mtok``, ``web_searches_kcount``, …)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A billable unit as the catalogue's registry defines it."""

    usage_key: str
    per: int
    dimensions: frozenset[tuple[str, str]]

    @property
    def direction(self) -> str:
        """``input``, ``output`` or nothing."""
        return dict(self.dimensions).get("direction", "")

    @property
    def is_tokens(self) -> bool:
        return ("family", "tokens") in self.dimensions


UNITS: Mapping[str, Unit] = {
    raw.get("price_key", usage_key): Unit(usage_key, raw["per"], frozenset(raw["dimensions"].items()))
    for usage_key, raw in unit_data.items()
}
"""Every unit that can be priced, by price key (genai_prices/data_units.py)."""

_UNITS_BY_USAGE = {unit.usage_key: unit for unit in UNITS.values()}


def _tokens(direction: str, modality: str, *, kind: str = "", ttl: str = "") -> frozenset[tuple[str, str]]:
    named = {"family": "tokens", "direction": direction, "modality": modality, "token_type": kind, "cache_ttl": ttl}
    return frozenset((name, value) for name, value in named.items() if value)


_INPUT = {
    "input": _tokens("input", "text"),
    "cache_read": _tokens("input", "text", kind="cache_read"),
    "cache_write": _tokens("input", "text", kind="cache_write", ttl="5m"),
    "cache_write_1h": _tokens("input", "text", kind="cache_write", ttl="1h"),
    "input_audio": _tokens("input", "audio"),
    "input_image": _tokens("input", "image"),
    "cache_read_audio": _tokens("input", "audio", kind="cache_read"),
}
_OUTPUT = {
    "output": _tokens("output", "text"),
    "reasoning": _tokens("output", "text", kind="reasoning"),
    "output_audio": _tokens("output", "audio"),
    "output_image": _tokens("output", "image"),
}
"""The token counts of a Usage, in order, and what each is a count of."""

_AUDIO = {"input_audio", "cache_read_audio", "output_audio"}


@dataclass(frozen=True, slots=True)
class Price:
    """What a usage costs."""

    total_nanos: int
    input_nanos: int
    """Of the total, what is input; the rest is output, tools and requests."""
    clamped: bool = False
    """A count was negative or absurd and was not believed."""
    unrated: tuple[str, ...] = ()
    """Counts that are not 0 and for which the card has no price: the total is then a lower bound."""


@dataclass(frozen=True, slots=True)
class _Band:
    """Rates for calls whose input exceeds ``above`` tokens, in nano-dollars × the card's denominator."""

    above: int
    up_to: int
    input: tuple[int | None, ...]
    output: tuple[int | None, ...]
    units: Mapping[str, tuple[int, str]]
    """By usage key: rate and direction."""
    request: int
    dearest: Mapping[tuple[bool, bool], tuple[int, int]]
    """By (cache_1h, audio): the dearest input and output rate."""


@dataclass(frozen=True, slots=True)
class RateCard:
    """The prices of one model at one time, in every context. Made by `compile_card`."""

    provider: str
    model: str
    """The catalogue's id."""
    context_window: int | None
    source: str
    """``catalogue`` or ``override`` (at least one standard price is from ``pricing/``)."""
    prices: Prices
    """The standard prices."""
    is_free: bool
    """Every price, in every context, is explicitly 0."""
    unbounded_units: tuple[str, ...]
    """Units with a price that are neither tokens nor requests (searches, hours): `most` does not bound them."""
    highest_tier_above: int
    """The input, in tokens, beyond which the dearest long-context tier begins; 0 where there is one tier only."""
    _denominator: int = field(repr=False)
    _bands: Mapping[Context, tuple[_Band, ...]] = field(repr=False)
    _tiers: frozenset[str] = field(repr=False)
    _speeds: frozenset[str] = field(repr=False)
    _geos: frozenset[str] = field(repr=False)

    def price(self, usage: Usage) -> Price:
        """Price a usage. Never raises: a count that cannot be is taken as 0 or COUNT_MAX."""
        inputs, clamped_in = _believed(
            (
                usage.input,
                usage.cache_read,
                usage.cache_write,
                usage.cache_write_1h,
                usage.input_audio,
                usage.input_image,
                usage.cache_read_audio,
            )
        )
        outputs, clamped_out = _believed((usage.output, usage.reasoning, usage.output_audio, usage.output_image))
        bands = self._bands[self._context(usage)]
        total_in = sum(inputs)
        band = bands[0]
        for candidate in bands[1:]:
            if total_in > candidate.above:
                band = candidate
        unrated: list[str] = []
        cost_in = _sum(inputs, band.input, _INPUT, unrated)
        cost = cost_in + _sum(outputs, band.output, _OUTPUT, unrated) + band.request
        clamped = clamped_in or clamped_out
        for name, raw in usage.units.items():
            (count,), clamped_unit = _believed((raw,))
            clamped = clamped or clamped_unit
            rate, direction = band.units.get(name, (None, ""))
            if rate is None:
                if count:
                    unrated.append(name)
                continue
            cost += rate * count
            cost_in += rate * count if direction == "input" else 0
        return Price(
            total_nanos=_half_even(cost, self._denominator),
            input_nanos=_half_even(cost_in, self._denominator),
            clamped=clamped,
            unrated=tuple(unrated),
        )

    def most(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        service_tier: str | None = None,
        speed: str | None = None,
        cache_1h: bool = False,
        audio: bool = False,
    ) -> int:
        """
        Return the most that a call of at most these tokens can cost, in nano-dollars, rounded up.

        For every Usage with ``input_total`` ≤ ``input_tokens`` and ``output_total`` ≤ ``output_tokens`` whose context
        the request allows, ``price(usage).total_nanos`` ≤ this. ``service_tier`` and ``speed`` are what the request
        asks for: a tier of None or ``auto`` allows every tier (a project's settings choose), any other allows itself
        and standard, since providers fall back. The region can be a workspace's setting, so the dearest counts.
        ``cache_1h`` and ``audio`` say whether such tokens can occur. Billed units that are not tokens are not covered
        (``unbounded_units``).
        """
        tiers = self._tiers_allowed(service_tier)
        if speed is None or speed == "standard":
            speeds: set[str | None] = {None}
        else:
            speeds = {None, speed} if speed in self._speeds else {None, *self._speeds}
        input_tokens, output_tokens = max(0, input_tokens), max(0, output_tokens)
        dearest = 0
        for context, bands in self._bands.items():
            if context.tier not in tiers or context.speed not in speeds:
                continue
            for band in bands:
                if input_tokens <= band.above:
                    break
                rate_in, rate_out = band.dearest[cache_1h, audio]
                within = min(band.up_to, input_tokens)
                cost = rate_in * within + rate_out * output_tokens + band.request
                if cost > dearest:  # noqa: PLR1730 - a comparison; this loop runs at every call
                    dearest = cost
        return -(-dearest // self._denominator)

    def expected(self, input_tokens: int, output_tokens: int, *, service_tier: str | None = None) -> int:
        """Return what plain text costs, uncached, in nano-dollars, rounded up; a tier without a price is standard."""
        usage_in, usage_out = max(0, input_tokens), max(0, output_tokens)
        bands = self._bands[Context(service_tier if service_tier in self._tiers else None)]
        band = next((band for band in reversed(bands) if usage_in > band.above), bands[0])
        cost = (band.input[0] or 0) * usage_in + (band.output[0] or 0) * usage_out + band.request
        return -(-cost // self._denominator)

    def _context(self, usage: Usage) -> Context:
        return Context(
            usage.service_tier if usage.service_tier in self._tiers else None,
            usage.speed if usage.speed in self._speeds else None,
            usage.inference_geo if usage.inference_geo in self._geos else None,
        )

    def _tiers_allowed(self, service_tier: str | None) -> set[str | None]:
        standard: set[str | None] = {None, "default", "standard"}
        if service_tier in standard - {None} or service_tier == "standard_only":
            return standard
        if service_tier in {"priority", "fast"}:  # OpenAI answers `fast` as `priority` (openai 3.54, ServiceTier)
            return standard | {"priority", "fast"}
        if service_tier in self._tiers:
            return standard | {service_tier}
        return standard | self._tiers


def compile_card(
    *,
    provider: str,
    model: str,
    context_window: int | None,
    source: str,
    contexts: Mapping[Context, Prices],
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
            sorted(UNITS[key].usage_key for key in standard if not UNITS[key].is_tokens and key != "requests_kcount")
        ),
        highest_tier_above=max(band.above for its in bands.values() for band in its),
        _denominator=denominator,
        _bands=bands,
        _tiers=frozenset(context.tier for context in contexts if context.tier is not None),
        _speeds=frozenset(context.speed for context in contexts if context.speed is not None),
        _geos=frozenset(context.geo for context in contexts if context.geo is not None),
    )


def _nanos(key: str, price: Decimal) -> Fraction:
    """Return nano-dollars per single unit."""
    return Fraction(price) * NANOS_PER_USD / UNITS[key].per


def _bands(prices: Prices, denominator: int) -> Iterable[_Band]:
    starts = sorted({start for rate in prices.values() for start, _ in rate.tiers})
    for above, up_to in pairwise((-1, *starts, COUNT_MAX * len(_INPUT))):
        scaled = {key: int(_nanos(key, rate.at(above + 1)) * denominator) for key, rate in prices.items()}
        inputs = {name: _rate_of(dimensions, scaled) for name, dimensions in _INPUT.items()}
        outputs = {name: _rate_of(dimensions, scaled) for name, dimensions in _OUTPUT.items()}
        yield _Band(
            above=above,
            up_to=up_to,
            input=tuple(inputs.values()),
            output=tuple(outputs.values()),
            units={
                usage_key: (rate, unit.direction)
                for usage_key, unit in _UNITS_BY_USAGE.items()
                if not unit.is_tokens
                and usage_key != "requests"
                and (rate := _rate_of(unit.dimensions, scaled)) is not None
            },
            request=scaled.get("requests_kcount", 0),
            dearest={
                (cache_1h, audio): (_dearest(inputs, cache_1h, audio), _dearest(outputs, cache_1h, audio))
                for cache_1h in (False, True)
                for audio in (False, True)
            },
        )


def _rate_of(dimensions: frozenset[tuple[str, str]], scaled: Mapping[str, int]) -> int | None:
    """Return the rate of the most specific priced unit that covers a count; of equals, the dearest; None: none does."""
    covering = [
        (len(UNITS[key].dimensions), rate) for key, rate in scaled.items() if UNITS[key].dimensions <= dimensions
    ]
    return max(covering)[1] if covering else None


def _dearest(rates: Mapping[str, int | None], cache_1h: bool, audio: bool) -> int:  # noqa: FBT001 - a pair of keys
    return max(
        rate or 0
        for name, rate in rates.items()
        if (cache_1h or name != "cache_write_1h") and (audio or name not in _AUDIO)
    )


def _believed(counts: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    if min(counts) >= 0 and max(counts) <= COUNT_MAX:
        return counts, False
    return tuple(min(max(count, 0), COUNT_MAX) for count in counts), True


def _sum(counts: tuple[int, ...], rates: tuple[int | None, ...], names: Iterable[str], unrated: list[str]) -> int:
    cost = 0
    for count, rate, name in zip(counts, rates, names, strict=True):
        if count:
            if rate is None:
                unrated.append(name)
            else:
                cost += count * rate
    return cost


def _half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))
