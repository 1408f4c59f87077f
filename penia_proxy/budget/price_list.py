"""
Name what can be said of a model's prices.

Its one job: the values that the price book answers with beside a rate card: a line of its list, a stretch of time, and
all that is known of one model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from penia_proxy.budget.overrides import Override
from penia_proxy.budget.ratecard import Context, Prices, RateCard


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


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days on which a model's prices do not change; both None: always."""

    start: date | None
    """The first day, in UTC; None: since ever."""
    end: date | None
    """The first day after it; None: as far as is known."""
    line: ModelPrices
    by_the_clock: bool
    """Whether other prices hold at some hours or on some days of the week: ``line`` is the first midnight's."""


@dataclass(frozen=True, slots=True)
class PriceDetail:
    """All that is known of a model's prices at an instant."""

    card: RateCard
    by_name: bool
    """Whether the model is known by its name; not by a pattern only, which any name may fit."""
    contexts: Mapping[Context, tuple[Prices, Prices]]
    """What a response can say that has a price of its own: the prices in force, and the catalogue's alone."""
    entries: tuple[tuple[Override, bool], ...]
    """Every entry of ``pricing/`` about the model, of whatever date, and whether it applies."""
