"""
Price one model's usage.

Its one job: compiled prices against counts: what a usage costs, and the most that counts can cost.
Rules: pricing never raises and never rounds twice; arithmetic is exact (integers over one common denominator), so no
decimal context can change a cent. ``price`` and ``most`` share the compiled rates, so a bound cannot forget a price.
Which prices are in force, and where they come from, is not known here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from penia_proxy.budget.usage import INPUT_COUNTS, OUTPUT_COUNTS, Usage
from penia_proxy.values import quick

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
    search: str | None = None


Prices = Mapping[str, Rate]
"""By price key (``input_mtok``, ``web_searches_kcount``, …)."""

STANDARD_TIERS = frozenset({None, "default", "standard", "auto", "standard_only", "on_demand"})
"""Names of the tier that is not another: OpenAI's, Anthropic's, Google's and Groq's."""

NOT_DEARER_TIERS = STANDARD_TIERS | {"flex", "batch", "scale", "reserved", "provisioned_throughput"}
"""Tiers that cost less by the token, or that were bought before: without a price of their own, standard bounds them."""

_SENSES = frozenset({"input_audio", "cache_read_audio", "input_video", "output_audio", "output_video"})
"""Counts that only calls with sound or moving pictures have."""


@quick
@dataclass(frozen=True, slots=True)
class Price:
    """What a usage costs."""

    total_nanos: int
    input_nanos: int
    """Of the total, what is input; the rest is output, tools and requests."""
    clamped: bool = False
    """A count was negative or absurd and was not believed."""
    unrated: tuple[str, ...] = ()
    """Counts that are not 0, and a tier, for which the card has no price: the total is then a lower bound."""


class Possible(NamedTuple):
    """Counts that only some calls can have, and that a bound leaves out for the others."""

    cache_1h: bool = False
    cache_12h: bool = False
    senses: bool = False
    """Sound or moving pictures."""

    def excludes(self, name: str) -> bool:
        """Whether a call cannot have this count."""
        return (
            (name == "cache_write_1h" and not self.cache_1h)
            or (name == "cache_write_12h" and not self.cache_12h)
            or (name in _SENSES and not self.senses)
        )


PLAIN = Possible()


@dataclass(frozen=True, slots=True)
class Band:
    """Rates for calls whose input exceeds ``above`` tokens, in nano-dollars × the card's denominator."""

    above: int
    up_to: int
    input: tuple[int | None, ...]
    output: tuple[int | None, ...]
    units: Mapping[str, tuple[int, str]]
    """By usage key: rate and direction."""
    request: int
    dearest: Mapping[Possible, tuple[int, int]]
    """The dearest input and output rate of what is possible."""


class _Step(NamedTuple):
    """Rates for the input tokens from ``above`` on, and at most ``up_to`` of them, as a `Band` has them."""

    above: int
    up_to: int
    input: int
    output: int
    request: int

    def covers(self, other: "_Step") -> bool:
        """Whether nothing costs more by the other."""
        return self.above <= other.above and all(mine >= its for mine, its in zip(self[1:], other[1:], strict=True))


@dataclass(frozen=True, slots=True)
class RateCard:
    """The prices of one model at one time, in every context. Made by `compiling.compile_card`."""

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
    at_least: Mapping[str, int]
    """The fewest units that a call with any is billed for (Groq: ten seconds of a recording)."""
    _denominator: int = field(repr=False)
    _bands: Mapping[Context, tuple[Band, ...]] = field(repr=False)
    _tiers: frozenset[str] = field(repr=False)
    _speeds: frozenset[str] = field(repr=False)
    _geos: frozenset[str] = field(repr=False)
    _searches: frozenset[str] = field(repr=False)
    _steps: dict[tuple[str | None, str | None, Possible | None], tuple[_Step, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """What a call of a tier, a speed and, for a bound, of these possible counts goes by; made when first asked for."""

    def price(self, usage: Usage) -> Price:
        """Price a usage. Never raises: a count that cannot be is taken as 0 or COUNT_MAX."""
        inputs, clamped_in = _believed(_inputs(usage))
        outputs, clamped_out = _believed(_outputs(usage))
        bands = self._bands[self._context(usage.service_tier, usage.speed, usage.inference_geo, usage.search_size)]
        total_in = sum(inputs)
        band = bands[0]
        for candidate in bands[1:]:
            if total_in > candidate.above:
                band = candidate
        unrated: list[str] = []
        cost_in = _sum(inputs, band.input, INPUT_COUNTS, unrated)
        cost = cost_in + _sum(outputs, band.output, OUTPUT_COUNTS, unrated) + band.request
        clamped = clamped_in or clamped_out
        for name, raw in usage.units.items() if usage.units else ():
            (count,), clamped_unit = _believed((raw,))
            clamped = clamped or clamped_unit
            rate, direction = band.units.get(name, (None, ""))
            if rate is None:
                if count:
                    unrated.append(name)
                continue
            billed = rate * max(count, self.at_least.get(name, 0) if count else 0)
            cost += billed
            cost_in += billed if direction == "input" else 0
        if usage.cache_write_12h and not self.prices_12h:
            unrated.append("cache_write_12h")
        if cost and not self.prices_tier(usage.service_tier):
            unrated.append(f"service_tier={usage.service_tier}"[:64])
        if cost and not self._prices_speed(usage.speed):
            unrated.append(f"speed={usage.speed}"[:64])
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
        possible: Possible = PLAIN,
    ) -> int:
        """
        Return the most that a call of at most these tokens can cost, in nano-dollars, rounded up.

        For every Usage with ``input_total`` ≤ ``input_tokens`` and ``output_total`` ≤ ``output_tokens`` whose context
        the request allows, ``price(usage).total_nanos`` ≤ this. ``service_tier`` and ``speed`` are what the request
        asks for: a tier of None or ``auto`` allows every tier (a project's settings choose), any other allows itself
        and standard, since providers fall back. Where a workspace may choose (``inference_geo``) or the answer says
        it (a search's size), the dearest counts. Billed units that are not tokens are not covered
        (``unbounded_units``), nor is a tier or a speed that is not priced (`unpriced_choice`).
        """
        key = (self._tier_of(service_tier), speed if speed in self._speeds else None, possible)
        steps = self._steps.get(key)
        if steps is None:
            steps = self._steps[key] = self._dearest_steps(*key)
        input_tokens, output_tokens = max(0, input_tokens), max(0, output_tokens)
        dearest = 0
        for above, up_to, rate_in, rate_out, request in steps:
            if input_tokens > above:
                cost = rate_in * min(up_to, input_tokens) + rate_out * output_tokens + request
                if cost > dearest:  # noqa: PLR1730 - a comparison; this loop runs at every call
                    dearest = cost
        return -(-dearest // self._denominator)

    def _tier_of(self, service_tier: str | None) -> str | None:
        """Return the name of the tiers that are allowed with one; all that are not known allow the same."""
        is_known = service_tier in STANDARD_TIERS or service_tier in {"priority", "fast"} or service_tier in self._tiers
        return service_tier if is_known else "?"

    def _dearest_steps(self, service_tier: str | None, speed: str | None, possible: Possible) -> tuple[_Step, ...]:
        """Return the steps that any allowed context may go by, without those that another always exceeds."""
        tiers = self._tiers_allowed(service_tier)
        steps = dict.fromkeys(
            _Step(band.above, band.up_to, *band.dearest[possible], band.request)
            for context, bands in self._bands.items()
            if context.tier in tiers and context.speed in {None, speed}
            for band in bands
        )
        return tuple(one for one in steps if not any(other.covers(one) for other in steps if other is not one))

    def unpriced_choice(self, service_tier: str | None, speed: str | None, possible: Possible = PLAIN) -> str:
        """Say which choice of a request has no price and may be dearer, so that `most` is no bound; else nothing."""
        if self.is_free:
            return ""
        if not self.prices_tier(service_tier):
            return f"the price of the service tier {(service_tier or '')[:32]!r} is not known"
        if not self._prices_speed(speed):
            return f"the price of the speed {(speed or '')[:32]!r} is not known"
        if possible.cache_12h and not self.prices_12h:
            return "it asks for a cache lifetime whose price is not known"
        return ""

    def prices_tier(self, service_tier: str | None) -> bool:
        """Whether what a tier costs is known, or that it costs no more than standard."""
        if service_tier in NOT_DEARER_TIERS or service_tier in self._tiers:
            return True
        # OpenAI answers `fast` as `priority` (openai 3.54, ServiceTier).
        return service_tier == "fast" and "priority" in self._tiers

    def _prices_speed(self, speed: str | None) -> bool:
        return speed in {None, "standard"} or speed in self._speeds

    @property
    def prices_12h(self) -> bool:
        """Whether cache writes kept for twelve hours have a price of their own: that of shorter ones is no bound."""
        return "cache_write_12h_mtok" in self.prices

    def expected(
        self, input_tokens: int, output_tokens: int, *, service_tier: str | None = None, speed: str | None = None
    ) -> int:
        """Return what plain text costs, uncached, at the tier and speed asked for, in nano-dollars, rounded up."""
        key = (service_tier if service_tier in self._tiers else None, speed if speed in self._speeds else None, None)
        steps = self._steps.get(key)
        if steps is None:
            bands = self._bands[self._context(service_tier, speed)]
            steps = self._steps[key] = tuple(
                _Step(band.above, band.up_to, band.input[0] or 0, band.output[0] or 0, band.request) for band in bands
            )
        usage_in = max(0, input_tokens)
        step = steps[0]
        for candidate in steps[1:]:
            if usage_in > candidate.above:
                step = candidate
        cost = step.input * usage_in + step.output * max(0, output_tokens) + step.request
        return -(-cost // self._denominator)

    def _context(
        self, tier: str | None, speed: str | None, geo: str | None = None, search: str | None = None
    ) -> Context:
        return Context(
            tier if tier in self._tiers else None,
            speed if speed in self._speeds else None,
            geo if geo in self._geos else None,
            search if search in self._searches else None,
        )

    def _tiers_allowed(self, service_tier: str | None) -> set[str | None]:
        standard: set[str | None] = set(STANDARD_TIERS)
        if service_tier in STANDARD_TIERS - {None, "auto"}:
            return standard
        if service_tier in {"priority", "fast"}:
            return standard | {"priority", "fast"}
        if service_tier in self._tiers:
            return standard | {service_tier}
        return standard | self._tiers


def _believed(counts: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    if min(counts) >= 0 and max(counts) <= COUNT_MAX:
        return counts, False
    return tuple(min(max(count, 0), COUNT_MAX) for count in counts), True


def _sum(counts: tuple[int, ...], rates: tuple[int | None, ...], names: Iterable[str], unrated: list[str]) -> int:
    if rates[0] is not None and not any(counts[1:]):  # plain text, as most of it is
        return counts[0] * rates[0]
    cost = 0
    for count, rate, name in zip(counts, rates, names, strict=True):
        if count:
            if rate is None:
                unrated.append(name)
            else:
                cost += count * rate
    return cost


_inputs = attrgetter(*INPUT_COUNTS)
_outputs = attrgetter(*OUTPUT_COUNTS)


def _half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))
