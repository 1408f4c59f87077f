"""
Know the prices in force.

Its one job: the price book: the catalogue (genai-prices' bundled data) under the overrides of ``pricing/``, as a rate
card per (provider, model, time).
Rules: files are read by `PriceBook.load` only. A provider is looked up by its exact catalogue name: what merely
contains "openai" is not OpenAI. No price is not a price of 0. Memory is bounded whatever names callers send.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Context as Arithmetic
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version as installed_version
from itertools import product
from pathlib import Path

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from penia_proxy.budget.models import FILE as MODELS_FILE
from penia_proxy.budget.models import ModelBook, ModelFacts
from penia_proxy.budget.overrides import PRICE_MAX, Override, Overrides
from penia_proxy.budget.ratecard import UNITS, Context, Price, Prices, Rate, RateCard, compile_card
from penia_proxy.errors import ConfigError

__all__ = ["MODEL_NAME_MAX", "ModelPrices", "Price", "PriceBook", "Rate", "RateCard"]

MODEL_NAME_MAX = 256
"""Characters of a model's name; a longer one is nobody's model."""

LOOKUPS_MAX = 4096
"""(provider, model) names remembered; beyond, the least used is looked up again (some 100 µs)."""

_EXACT = Arithmetic(prec=60)


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """A line of the price list."""

    provider: str
    model: str
    """The catalogue's id, or the pattern of an override for a model that the catalogue does not have."""
    name: str | None
    prices: Prices
    """Standard prices in force, by price key."""
    context_window: int | None
    source: str
    """``catalogue`` or ``override``."""


class PriceBook:
    """Every price known. Immutable once loaded, and safe to ask from several threads."""

    def __init__(
        self, providers: Sequence[Provider], overrides: Overrides, version: str, models: ModelBook | None = None
    ) -> None:
        self.version = version
        """What a usage record is stamped with: the catalogue's version, and the overrides' digest if there are any."""
        self._providers = {provider.id: provider for provider in providers}
        self._all = list(providers)
        self._overrides = overrides
        self._facts = models or ModelBook()
        self.refused = tuple(_refused(providers))
        """``provider/model`` of catalogue entries with a negative or absurd price: as good as not known."""
        self._bad = frozenset(self.refused)
        self._models: dict[tuple[object, ...], _Model] = {}
        self._lookup = lru_cache(maxsize=LOOKUPS_MAX)(self._find)

    @classmethod
    def load(cls, directory: Path | None = None) -> "PriceBook":
        """
        Read the catalogue and the overrides of a directory; None: the project's own ``pricing/``.

        A directory without model facts leaves the project's own in force: they change no price. Raises ConfigError,
        with file and line of every problem.
        """
        own = _own_directory()
        if directory is None:
            directory = own
        elif not directory.is_dir():
            raise ConfigError(f"pricing.directory: {directory}: no such directory")
        overrides = Overrides.load(directory) if directory else Overrides()
        version = f"genai-prices {installed_version('genai-prices')}"
        if overrides.digest:
            version += f" + pricing {overrides.digest}"
        files = [place / MODELS_FILE for place in (directory, own) if place and (place / MODELS_FILE).is_file()]
        models = ModelBook.load(files[0]) if files else None
        return cls(get_snapshot().providers, overrides, version, models)

    @property
    def providers(self) -> frozenset[str]:
        """The names under which prices are known."""
        return frozenset(self._providers) | {entry.provider for entry in self._overrides.entries}

    def card(self, provider: str, model: str, at: datetime) -> RateCard | None:
        """Return a model's prices at an aware instant, None if none are known; ``provider`` is the catalogue's name."""
        if len(model) > MODEL_NAME_MAX:
            return None
        found = self._lookup(provider, model)
        return found.card(at) if found else None

    def facts(self, provider: str, model: str) -> ModelFacts | None:
        """
        Return what is stated about a model, None if nothing is.

        By its name, its name without a date, or the catalogue's id for it.
        """
        if len(model) > MODEL_NAME_MAX:
            return None
        if known := self._facts.facts(provider, model):
            return known
        found = self._lookup(provider, model)
        return self._facts.family(provider, found.info.id) if found and found.info else None

    def models(self, provider: str | None, at: datetime) -> list[ModelPrices]:
        """Return the price list at an instant, of one provider or of all, by provider and model."""
        lines = [line for line in self._lines(at) if provider in {None, line.provider}]
        return sorted(lines, key=lambda line: (line.provider, line.model))

    def _lines(self, at: datetime) -> Iterator[ModelPrices]:
        for provider in self._all:
            for info in provider.models:
                found = self._model(provider.id, info, (info.id,))
                if found and (line := found.line(at)):
                    yield line
        seen: set[tuple[str, str]] = set()
        for entry in self._overrides.entries:
            key = (entry.provider, entry.match.pattern)
            if key not in seen and self._catalogued(entry) is None:
                seen.add(key)
                same = tuple(e for e in self._overrides.entries if (e.provider, e.match.pattern) == key)
                if line := _Model(entry.provider, entry.match.pattern, None, (), same).line(at):
                    yield line

    def _catalogued(self, entry: Override) -> ModelInfo | None:
        provider = self._providers.get(entry.provider)
        return next((info for info in provider.models if entry.match.covers(info.id)), None) if provider else None

    def _find(self, provider: str, model: str) -> "_Model | None":
        known = self._providers.get(provider)
        for name in (model, model.removeprefix("models/")):
            info = known.find_model(name, all_providers=self._all) if known else None
            if info is not None:
                return self._model(provider, info, (model, info.id))
        return self._model(provider, None, (model,))

    def _model(self, provider: str, info: ModelInfo | None, names: tuple[str, ...]) -> "_Model | None":
        entries = self._overrides.about(provider, names)
        if info is not None and f"{provider}/{info.id}" in self._bad:
            info = None
        if info is None and not entries:
            return None
        # Shared by all names of a model: as many as the catalogue has models, times the override sets that touch them.
        key = (provider, id(info) if info else None, *map(id, entries))
        if key not in self._models:
            own = self._providers.get(provider)
            # The library prices a model borrowed from another provider without that provider's variants.
            is_own = own is not None and any(info is model for model in own.models)
            name = info.id if info else entries[-1].match.pattern
            contexts = tuple(_contexts(info if is_own else None, entries))
            self._models[key] = _Model(provider, name, info, contexts, entries)
        return self._models[key]


@dataclass(slots=True)
class _Model:
    """One model's prices over time: what is compiled, once per stretch of time in which no price changes."""

    provider: str
    name: str
    info: ModelInfo | None
    contexts: tuple[Context, ...]
    entries: tuple[Override, ...]
    _dates: tuple[date, ...] = field(init=False)
    _times: tuple[TimeOfDateConstraint, ...] = field(init=False)
    _cards: dict[tuple[int, tuple[bool, ...]], RateCard | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        constraints = list(_constraints(self.info)) if self.info else []
        starts = {one.start_date for one in constraints if isinstance(one, StartDateConstraint)}
        self._dates = tuple(sorted(starts | {entry.start for entry in self.entries}))
        self._times = tuple(one for one in constraints if isinstance(one, TimeOfDateConstraint))

    def card(self, at: datetime) -> RateCard | None:
        """Return the card of an instant."""
        stretch = (
            bisect_right(self._dates, at.astimezone(UTC).date()),
            tuple(one.active(at) for one in self._times) if self._times else (),
        )
        if stretch not in self._cards:
            self._cards[stretch] = self._compile(at)
        return self._cards[stretch]

    def line(self, at: datetime) -> ModelPrices | None:
        """Return the price list's line at an instant, None without a price."""
        entries = self._active(at)
        prices = self._prices(at, Context(), entries)
        if not _is_price(prices, catalogued=self._has_catalogue_price(at)):
            return None
        return ModelPrices(
            provider=self.provider,
            model=self.name,
            name=self.info.name if self.info else None,
            prices=prices,
            context_window=self._context_window(entries),
            source=_source(entries),
        )

    def _compile(self, at: datetime) -> RateCard | None:
        entries = self._active(at)
        contexts = {context: self._prices(at, context, entries) for context in self.contexts}
        if not _is_price(contexts[Context()], catalogued=self._has_catalogue_price(at)):
            return None
        return compile_card(
            provider=self.provider,
            model=self.name,
            context_window=self._context_window(entries),
            source=_source(entries),
            contexts=contexts,
        )

    def _active(self, at: datetime) -> tuple[Override, ...]:
        day = at.astimezone(UTC).date()
        return tuple(entry for entry in self.entries if entry.start <= day)

    def _has_catalogue_price(self, at: datetime) -> bool:
        return self.info is not None and bool(_prices_of(self.info.get_prices(at)))

    def _context_window(self, entries: Sequence[Override]) -> int | None:
        said = [entry.context_window for entry in entries if entry.context_window]
        return said[-1] if said else (self.info.context_window if self.info else None)

    def _prices(self, at: datetime, context: Context, entries: Sequence[Override]) -> Prices:
        """
        Layer the prices of a context, the later over the earlier.

        The catalogue's standard, overrides for every context, the catalogue's prices for this context, overrides for
        this context; at last, the last multiplier.
        """
        prices: dict[str, Rate] = {}
        applying = [entry for entry in entries if entry.when.holds(context)]
        standard = _prices_of(self.info.get_prices(at)) if self.info else {}
        prices.update(standard)
        for entry in applying:
            if entry.when.is_always:
                prices.update(entry.prices)
        if self.info and context != Context():
            selected = _prices_of(self.info.get_prices(at, _library_context(context)))
            prices.update({key: rate for key, rate in selected.items() if standard.get(key) != rate})
        for entry in applying:
            if not entry.when.is_always:
                prices.update(entry.prices)
        multipliers = [entry.multiply for entry in applying if entry.multiply is not None]
        if multipliers:
            prices = {key: _multiplied(key, rate, multipliers[-1]) for key, rate in prices.items()}
        return prices


def _is_price(prices: Prices, *, catalogued: bool) -> bool:
    """Whether prices say what a call costs. An override alone must price input and output, or requests."""
    if catalogued:
        return True
    return {"input_mtok", "output_mtok"} <= prices.keys() or "requests_kcount" in prices


def _source(entries: Sequence[Override]) -> str:
    standard = [entry for entry in entries if entry.when.is_always]
    return "override" if any(entry.prices or entry.multiply for entry in standard) else "catalogue"


def _contexts(info: ModelInfo | None, entries: Sequence[Override]) -> Iterator[Context]:
    """Yield every combination of what a response can say that changes a price; the standard one first."""
    tiers: dict[str | None, None] = {None: None}
    speeds: dict[str | None, None] = {None: None}
    geos: dict[str | None, None] = {None: None}
    for variant in (info.price_variants or ()) if info else ():
        if variant.when.get("processing") == "batch":
            tiers["batch"] = None
        if tier := variant.when.get("service_tier"):
            tiers[tier] = None
        if speed := variant.when.get("speed"):
            speeds[speed] = None
    for entry in entries:
        tiers[entry.when.service_tier] = speeds[entry.when.speed] = geos[entry.when.inference_geo] = None
    return (Context(*values) for values in product(tiers, speeds, geos))


def _library_context(context: Context) -> dict[str, str]:
    """Return a context in the catalogue's words. Anthropic's tier ``batch`` is the catalogue's ``processing``."""
    said = {"speed": context.speed, "service_tier": context.tier}
    if context.tier == "batch":
        said["processing"] = "batch"
    return {key: value for key, value in said.items() if value is not None}


def _constraints(info: ModelInfo) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    prices = info.prices if isinstance(info.prices, list) else []
    for conditional in (*prices, *(info.price_variants or ())):
        if conditional.constraint is not None:
            yield conditional.constraint


def _prices_of(prices: ModelPrice) -> dict[str, Rate]:
    return {
        key: Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
        if isinstance(value, TieredPrices)
        else Rate(value)
        for key, value in vars(prices).items()
        if value is not None and key in UNITS
    }


def _multiplied(key: str, rate: Rate, factor: Decimal) -> Rate:
    if not UNITS[key].is_tokens:
        return rate
    return Rate(
        _EXACT.multiply(rate.base, factor),
        tuple((start, _EXACT.multiply(price, factor)) for start, price in rate.tiers),
    )


def _refused(providers: Sequence[Provider]) -> Iterator[str]:
    for provider in providers:
        for info in provider.models:
            prices = [one.prices for one in _conditional(info)] + [one.prices for one in info.price_variants or ()]
            if not all(_is_sane(value) for one in prices for value in vars(one).values() if value is not None):
                yield f"{provider.id}/{info.id}"


def _conditional(info: ModelInfo) -> Sequence[ConditionalPrice]:
    return info.prices if isinstance(info.prices, list) else [ConditionalPrice(prices=info.prices)]


def _is_sane(value: Decimal | TieredPrices) -> bool:
    if isinstance(value, TieredPrices):
        return all(_is_sane(price) for price in (value.base, *(tier.price for tier in value.tiers)))
    return value.is_finite() and 0 <= value <= PRICE_MAX


def _own_directory() -> Path | None:
    """Return ``pricing/`` where it travels: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "pricing", package.parent / "pricing"):
        if directory.is_dir():
            return directory
    return None
