"""
Know the prices in force.

Its one job: the price book: the catalogue (genai-prices' bundled data) under the overrides of ``pricing/``, as a rate
card per (provider, model, time).
Rules: files are read by `PriceBook.load` only. A provider is looked up by its exact catalogue name: what merely
contains "openai" is not OpenAI. No price is not a price of 0. Memory is bounded whatever names callers send.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from functools import lru_cache
from importlib.metadata import version as installed_version
from itertools import pairwise, product
from pathlib import Path

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider, StartDateConstraint, TimeOfDateConstraint

from penia_proxy.budget.catalogue import constraints, prices_at, refused, variants
from penia_proxy.budget.compiling import compile_card
from penia_proxy.budget.layering import fill, multiplied, resolved
from penia_proxy.budget.models import FILE as MODELS_FILE
from penia_proxy.budget.models import ModelBook, ModelFacts
from penia_proxy.budget.overrides import Override, Overrides, Share
from penia_proxy.budget.price_list import ModelPrices, PriceDetail, Stretch
from penia_proxy.budget.ratecard import Context, Price, Prices, Rate, RateCard
from penia_proxy.budget.units import REQUESTS
from penia_proxy.config import PricingConfig
from penia_proxy.errors import ConfigError

__all__ = ["MODEL_NAME_MAX", "ModelPrices", "Price", "PriceBook", "PriceDetail", "Rate", "RateCard", "Stretch"]

MODEL_NAME_MAX = 256
"""Characters of a model's name; a longer one is nobody's model."""

LOOKUPS_MAX = 4096
"""(provider, model) names remembered; beyond, the least used is looked up again (some 100 µs)."""


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
        self.refused = tuple(refused(providers))
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

    @classmethod
    def configured(cls, pricing: PricingConfig) -> "PriceBook":
        """Read what the configuration names. Raises as `load`."""
        return cls.load(Path(pricing.directory) if pricing.directory else None)

    @classmethod
    def catalogue(cls) -> "PriceBook":
        """Return the catalogue alone, nothing of ours over it: what the library itself would say."""
        return cls(get_snapshot().providers, Overrides(), f"genai-prices {installed_version('genai-prices')}")

    @property
    def providers(self) -> frozenset[str]:
        """The names under which prices are known."""
        return frozenset(self._providers) | {entry.provider for entry in self._overrides.entries}

    def card(self, provider: str, model: str, at: datetime, *, region: str | None = None) -> RateCard | None:
        """
        Return a model's prices at an aware instant, None if none are known.

        ``provider`` is the catalogue's name, ``region`` where the call is processed; None: wherever the provider likes.
        """
        if len(model) > MODEL_NAME_MAX:
            return None
        found = self._lookup(provider, model)
        return found.card(at, region) if found else None

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

    def stated(self, provider: str, model: str) -> ModelFacts | None:
        """
        Return what is stated about a model by this very name, as far as the catalogue does not contradict it.

        For advice: of two windows the smaller counts, of two ends the earlier.
        """
        if len(model) > MODEL_NAME_MAX or (known := self._facts.stated(provider, model)) is None:
            return None
        found = self._lookup(provider, model)
        return found.agreed(known) if found else known

    def models(self, provider: str | None, at: datetime) -> list[ModelPrices]:
        """Return the price list at an instant, of one provider or of all, by provider and model."""
        lines = [line for line in self._lines(at) if provider in {None, line.provider}]
        return sorted(lines, key=lambda line: (line.provider, line.model))

    def names(self, provider: str) -> tuple[str, ...]:
        """Return the models of a provider that go by a name, priced or not; those of a pattern are not among them."""
        known = self._providers.get(provider)
        catalogued = [info.id for info in known.models] if known else []
        added = [entry.match.equals for entry in self._overrides.entries if entry.provider == provider]
        return tuple(dict.fromkeys([*catalogued, *(name for name in added if name)]))

    def history(self, provider: str, model: str) -> "list[Stretch]":
        """Return a model's prices over time, oldest first; stretches without a price are left out."""
        found = self._lookup(provider, model) if len(model) <= MODEL_NAME_MAX else None
        return found.history() if found else []

    def detail(self, provider: str, model: str, at: datetime, *, region: str | None = None) -> PriceDetail | None:
        """Return all that is known of a model's prices at an aware instant, None if none are."""
        found = self._lookup(provider, model) if len(model) <= MODEL_NAME_MAX else None
        return found.detail(at.astimezone(UTC), region, model) if found else None

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
                if line := _Model(entry.provider, entry.match.pattern, entries=same).line(at):
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
            is_own = own is not None and any(info is model for model in own.models)
            name = info.id if info else entries[-1].match.pattern
            contexts = tuple(_contexts(info if is_own else None, entries))
            self._models[key] = _Model(provider, name, info, is_own, contexts, entries)
        return self._models[key]


@dataclass(slots=True)
class _Model:
    """One model's prices over time: what is compiled, once per stretch of time in which no price changes."""

    provider: str
    name: str
    info: ModelInfo | None = None
    is_own: bool = False
    """Whether the model is this provider's in the catalogue; one borrowed from another has no variants."""
    contexts: tuple[Context, ...] = ()
    entries: tuple[Override, ...] = ()
    _dates: tuple[date, ...] = field(init=False)
    _times: tuple[TimeOfDateConstraint, ...] = field(init=False)
    _by_day: tuple[Override, ...] = field(init=False)
    _nowhere: tuple[bool, ...] = field(init=False)
    """Which of those for a region hold where nobody says which it is, as of most calls."""
    _cards: dict[tuple[object, ...], RateCard | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        found = list(constraints(self.info))
        starts = {one.start_date for one in found if isinstance(one, StartDateConstraint)}
        self._dates = tuple(sorted(starts | {entry.start for entry in self.entries}))
        self._times = tuple(one for one in found if isinstance(one, TimeOfDateConstraint))
        self._by_day = tuple(entry for entry in self.entries if entry.days)
        self._nowhere = self._applying(None)

    def card(self, at: datetime, region: str | None) -> RateCard | None:
        """Return the card of an instant; one for all instants and places for which the same prices hold."""
        if at.tzinfo is not UTC:
            at = at.astimezone(UTC)
        stretch = (
            bisect_right(self._dates, at.date()),
            tuple(one.active(at) for one in self._times) if self._times else (),
            tuple(entry.is_active(at) for entry in self._by_day) if self._by_day else (),
            self._nowhere if region is None else self._applying(region),
        )
        if stretch not in self._cards:
            self._cards[stretch] = self._compile(at, region)
        return self._cards[stretch]

    def line(self, at: datetime) -> ModelPrices | None:
        """Return the price list's line at an instant, None without a price."""
        entries = self._active(at.astimezone(UTC), None)
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

    def agreed(self, stated: ModelFacts) -> ModelFacts:
        """Return facts of the table, cut down to what the price list says of the model."""
        windows = [one for one in (self._context_window(self.entries), stated.context_window) if one]
        has_ended = self.info is not None and self.info.deprecated
        return replace(
            stated,
            context_window=min(windows, default=None),
            deprecated=date.min if has_ended else stated.deprecated,
        )

    def history(self) -> list[Stretch]:
        """Return what held when; neighbours that do not differ are one."""
        found: list[Stretch] = []
        starts = [date.min, *(day for day in self._dates if day > date.min)]
        for start, end in pairwise([*starts, None]):
            if start is None or (line := self.line(datetime.combine(start, time(), UTC))) is None:
                continue
            by_the_clock = bool(self._times) or any(entry.days for entry in self.entries if entry.start <= start)
            stretch = Stretch(None if start == date.min else start, end, line, by_the_clock)
            if found and found[-1].end == start and found[-1].line == line and found[-1].by_the_clock == by_the_clock:
                stretch = replace(found.pop(), end=end)
            found.append(stretch)
        return found

    def _applying(self, region: str | None) -> tuple[bool, ...]:
        return tuple(entry.when.is_in(region) for entry in self.entries if entry.when.region)

    def detail(self, at: datetime, region: str | None, asked: str) -> PriceDetail | None:
        """Return all that is known of the prices, None without one."""
        card = self.card(at, region)
        if card is None:
            return None
        active = self._active(at, region)
        named = self.info is not None or any((entry.match.equals or "").lower() == asked.lower() for entry in active)
        contexts = {one: (self._prices(at, one, active), self._prices(at, one, ())) for one in self.contexts}
        return PriceDetail(card, named, contexts, tuple((entry, entry in active) for entry in self.entries))

    def _compile(self, at: datetime, region: str | None) -> RateCard | None:
        entries = self._active(at, region)
        contexts = {context: self._prices(at, context, entries) for context in self.contexts}
        if not _is_price(contexts[Context()], catalogued=self._has_catalogue_price(at)):
            return None
        return compile_card(
            provider=self.provider,
            model=self.name,
            context_window=self._context_window(entries),
            source=_source(entries),
            contexts=contexts,
            at_least={name: least for entry in entries for name, least in entry.at_least.items()},
        )

    def _active(self, at: datetime, region: str | None) -> tuple[Override, ...]:
        return tuple(entry for entry in self.entries if entry.is_active(at) and entry.when.is_in(region))

    def _has_catalogue_price(self, at: datetime) -> bool:
        return bool(prices_at(self.info, at))

    def _context_window(self, entries: Sequence[Override]) -> int | None:
        said = [entry.context_window for entry in entries if entry.context_window]
        return said[-1] if said else (self.info.context_window if self.info else None)

    def _prices(self, at: datetime, context: Context, entries: Sequence[Override]) -> Prices:
        """
        Layer the prices of a context, the later over the earlier.

        The catalogue's standard, overrides for every context, the catalogue's prices for this context, overrides for
        this context; then what is a multiple of another price, and at last the multipliers.
        """
        for entry in entries:
            if entry.as_at is not None:
                at = datetime.combine(at.astimezone(UTC), entry.as_at, UTC)
        standard = prices_at(self.info, at)
        own = self._own(at, context)
        applying = [entry for entry in entries if entry.when.holds(context)]
        prices: dict[str, Rate | Share] = dict(standard)
        for entry in applying:
            if entry.when.is_always:
                fill(prices, entry, standard)
        prices.update(own)
        for entry in applying:
            if not entry.when.is_always:
                fill(prices, entry, own)
        # Of one kind the last counts; what they are about apart (a tier, a place) multiplies.
        factors = {
            entry.when.named: entry.multiply
            for entry in applying
            if entry.multiply is not None and not (entry.only_if_missing and self._own(at, entry.when.context))
        }
        known = {key: found for key, rate in prices.items() if (found := resolved(rate, prices)) is not None}
        for factor in factors.values():
            known = {key: multiplied(key, rate, factor) for key, rate in known.items()}
        return known

    def _own(self, at: datetime, context: Context) -> Prices:
        """Return the catalogue's prices of a context, where it has other ones for it than the standard."""
        if self.info is None or not self.is_own or context == Context():
            return {}
        standard = prices_at(self.info, at)
        return {key: rate for key, rate in prices_at(self.info, at, context).items() if standard.get(key) != rate}


def _is_price(prices: Prices, *, catalogued: bool) -> bool:
    """Whether prices say what a call costs. An override alone must price input and output, or requests."""
    return catalogued or {"input_mtok", "output_mtok"} <= prices.keys() or REQUESTS in prices


def _source(entries: Sequence[Override]) -> str:
    standard = [entry for entry in entries if entry.when.is_always]
    return "override" if any(entry.prices or entry.multiply or entry.as_at for entry in standard) else "catalogue"


def _contexts(info: ModelInfo | None, entries: Sequence[Override]) -> Iterator[Context]:
    """Yield every combination of what a response can say that changes a price; the standard one first."""
    said = [Context(), *variants(info), *(entry.when.context for entry in entries)]
    return (Context(*values) for values in product(*(dict.fromkeys(column) for column in zip(*said, strict=True))))


def _own_directory() -> Path | None:
    """Return ``pricing/`` where it travels: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "pricing", package.parent / "pricing"):
        if directory.is_dir():
            return directory
    return None
