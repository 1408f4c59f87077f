"""
Read the price overrides.

Its one job: ``pricing/*.yaml`` as checked, dated entries, and which of them apply to a model at a time.
Rules: an entry is appended, never edited, so that history keeps its prices. One bad entry refuses them all: a price
that is silently left out is a bill that is silently wrong. The catalogue is not known here.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from penia_proxy.budget.ratecard import Context, Rate
from penia_proxy.budget.units import UNITS
from penia_proxy.config.document import Document, Place, read, spoken, suggestion, unknown_key
from penia_proxy.errors import ConfigError

TOKEN_PRICE_MAX = 10_000
"""USD per million tokens beyond which a price is taken for a wrong unit; the catalogue's dearest is 600 (o1-pro)."""

PRICE_MAX = 1_000_000
"""The same for prices of anything else."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _amount(value: object) -> object:
    # A float has lost what was written; YAML fractions arrive as Decimal.
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("price", "a price is a plain number in USD")
    return value


Amount = Annotated[Decimal, BeforeValidator(_amount), Field(ge=0, le=PRICE_MAX, max_digits=30)]


Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_DAYS: tuple[Day, ...] = get_args(Day)

_COUNTED = frozenset(unit.usage_key for unit in UNITS.values() if not unit.is_tokens)

ANYWHERE = "*"
"""In ``when: {region: "*"}``: any place that is named, whichever."""


class TierSpec(_Strict):
    """A price for calls whose input exceeds ``start`` tokens."""

    start: int = Field(ge=0, strict=True)
    price: Amount


class Share(NamedTuple):
    """A price that is a multiple of another one, tier by tier, and moves with it; of itself: of what it was before."""

    of: str
    times: Decimal


class RateSpec(_Strict):
    """A price, a price with tiers, or a multiple of another price."""

    base: Amount | None = None
    tiers: tuple[TierSpec, ...] = ()
    of: str | None = None
    times: Annotated[Decimal, BeforeValidator(_amount), Field(gt=0, le=100)] | None = None

    @property
    def rate(self) -> Rate | Share:
        if self.of is not None and self.times is not None:
            return Share(self.of, self.times)
        return Rate(self.base or Decimal(0), tuple((tier.start, tier.price) for tier in self.tiers))

    @property
    def dearest(self) -> Decimal:
        """The largest number in it; 0 for a multiple of another price."""
        return max(self.base or Decimal(0), *(tier.price for tier in self.tiers), Decimal(0))

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.base is None) != (self.of is not None and self.times is not None) or (self.of and self.tiers):
            raise PydanticCustomError("rate", "a price is a base with tiers or without, or of and times")
        starts = [tier.start for tier in self.tiers]
        if starts != sorted(set(starts)):
            raise PydanticCustomError("tiers", "tiers are in the order of their starts, each start once")
        return self


class ModelMatch(_Strict):
    """Which models an entry is about: the name in the call, or the catalogue's id for it. Case does not matter."""

    equals: str | None = Field(default=None, min_length=1, max_length=200)
    starts_with: str | None = Field(default=None, min_length=1, max_length=200)
    regex: str | None = Field(default=None, min_length=1, max_length=500)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(given is not None for given in (self.equals, self.starts_with, self.regex)) != 1:
            raise PydanticCustomError("match", "exactly one of equals, starts_with and regex is needed")
        try:
            re.compile(self.regex or "")
        except re.error as error:
            raise PydanticCustomError("match", "not a regular expression: {why}", {"why": str(error)}) from error
        return self

    @property
    def pattern(self) -> str:
        """The match as a person reads it: ``gpt-4o``, ``gpt-4o*``, ``/gpt-4.*/``."""
        return self.equals or (f"{self.starts_with}*" if self.starts_with else f"/{self.regex}/")

    def covers(self, name: str) -> bool:
        """Whether the name, in small letters, is meant."""
        if self.equals is not None:
            return name == self.equals.lower()
        if self.starts_with is not None:
            return name.startswith(self.starts_with.lower())
        return re.fullmatch(self.regex or "", name, re.IGNORECASE) is not None


class When(_Strict):
    """What must be so for an entry to apply; empty: always."""

    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    search_size: Literal["low", "medium", "high"] | None = None
    region: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Where the call is sent to be processed, which is known before it is made; the others are of its answer."""

    @property
    def context(self) -> Context:
        """What the answer must say."""
        return Context(self.service_tier, self.speed, self.inference_geo, self.search_size)

    @property
    def named(self) -> frozenset[str]:
        """What is asked about, whatever the value."""
        return frozenset(name for name, value in self if value is not None)

    def holds(self, context: Context) -> bool:
        """Whether a response in this context is meant."""
        return all(asked in {None, said} for asked, said in zip(self.context, context, strict=True))

    def is_in(self, region: str | None) -> bool:
        """Whether a call that is processed there is meant."""
        return self.region is None or (region is not None and self.region.lower() in {ANYWHERE, region.lower()})

    @property
    def is_always(self) -> bool:
        """Whether every answer is meant."""
        return self.context == Context()


class EntrySpec(_Strict):
    """One dated entry, as ``pricing/README.md`` describes it."""

    model: ModelMatch
    start_date: date | None = None
    days: Annotated[tuple[Day, ...], Field(min_length=1)] | None = None
    when: When = When()
    only_if_missing: Annotated[bool, Field(strict=True)] = False
    prices: dict[str, Annotated[RateSpec, BeforeValidator(lambda value: _as_rate(value))]] = {}  # noqa: PLW0108 - defined below
    multiply: Annotated[Decimal, BeforeValidator(_amount), Field(gt=0, le=10)] | None = None
    as_at: time | None = None
    at_least: dict[str, Annotated[int, Field(gt=0, le=1_000_000, strict=True)]] = {}
    context_window: int | None = Field(default=None, gt=0, strict=True)
    source: str = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.prices or self.multiply or self.as_at is not None or self.at_least or self.context_window):
            raise PydanticCustomError("entry", "an entry has prices, multiply, as_at, at_least or context_window")
        if (self.as_at is not None or self.at_least) and not self.when.is_always:
            raise PydanticCustomError(
                "always", "as_at and at_least hold for every answer: 'when' can name a region only"
            )
        if self.as_at is not None and self.as_at.tzinfo is not None:
            raise PydanticCustomError("as_at", "as_at is a time in UTC, such as '00:00'")
        for name in self.at_least:
            if name not in _COUNTED:
                raise PydanticCustomError(
                    "unit", "{text}", {"text": f"unknown unit {name!r}{suggestion(name, _COUNTED)}"}
                )
        for key, rate in self.prices.items():
            for name in (key, rate.of or key):
                if name not in UNITS:
                    raise PydanticCustomError(
                        "price_key", "{text}", {"text": f"unknown price {name!r}{suggestion(name, UNITS)}"}
                    )
            if UNITS[key].is_tokens and rate.dearest > TOKEN_PRICE_MAX:
                raise PydanticCustomError(
                    "price_unit", "{text}", {"text": f"{key} is USD per million tokens; {rate.dearest} cannot be right"}
                )
        return self


def _as_rate(value: object) -> object:
    return value if isinstance(value, dict | RateSpec) else {"base": value}


class FileSpec(_Strict):
    """A file of ``pricing/``."""

    provider: str = Field(min_length=1, max_length=100)
    entries: tuple[EntrySpec, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """One entry in force from ``start`` (UTC midnight) on."""

    provider: str
    match: ModelMatch
    start: date
    days: frozenset[int]
    """Of the week in UTC, Monday is 0; empty: every day."""
    when: When
    only_if_missing: bool
    """Gives way where the catalogue has a price of its own: a gap is filled until the catalogue fills it."""
    prices: Mapping[str, Rate | Share]
    multiply: Decimal | None
    as_at: time | None
    """The time of day (UTC) whose catalogue prices hold all day."""
    at_least: Mapping[str, int]
    """The fewest units that a call with any is billed for, by the units' names."""
    context_window: int | None
    source: str

    @property
    def identity(self) -> tuple[Any, ...]:
        """Two entries with the same identity contradict each other."""
        return (self.provider, self.match, self.start, self.days, self.when)

    def is_active(self, at: datetime) -> bool:
        """Whether it holds at an instant in UTC."""
        return self.start <= at.date() and (not self.days or at.weekday() in self.days)


@dataclass(frozen=True, slots=True)
class Overrides:
    """All entries, in the order in which they apply: later ones win."""

    entries: tuple[Override, ...] = ()
    digest: str = ""
    """8 hex digits over the files' bytes; empty without files."""

    @classmethod
    def load(cls, directory: Path) -> "Overrides":
        """Read ``*.yaml``. Raises ConfigError with every problem of every file."""
        found: list[Override] = []
        problems: list[str] = []
        seen: dict[tuple[Any, ...], str] = {}
        digest = hashlib.sha256()
        paths = sorted(path for path in directory.iterdir() if path.suffix in {".yaml", ".yml"})
        for path in paths:
            try:
                document = read(path, exact=True)
                entries = _entries(document)
            except ConfigError as error:
                problems.extend(error.detail or [str(error)])
                continue
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
            for index, entry in enumerate(entries):
                where = document.where(("entries", index))
                first = seen.setdefault(entry.identity, where)
                if first != where:
                    problems.append(
                        f"{where}: the same model, date, days and 'when' as {first}; append with a new start_date"
                    )
            found.extend(entries)
        if problems:
            raise ConfigError("\n".join(problems), detail=problems)
        found.sort(key=lambda entry: entry.start)  # stable: of one date, the one further down wins
        return cls(tuple(found), digest.hexdigest()[:8] if paths else "")

    def about(self, provider: str, names: Iterable[str]) -> tuple[Override, ...]:
        """Return the entries about a model that goes by any of these names, whatever their date."""
        lowered = [name.lower() for name in names]
        return tuple(
            entry
            for entry in self.entries
            if entry.provider == provider and any(entry.match.covers(name) for name in lowered)
        )


def _entries(document: Document) -> list[Override]:
    try:
        spec = FileSpec.model_validate(document.value)
    except ValidationError as error:
        problems = []
        for one in error.errors(include_url=False):
            place: Place = one["loc"]
            if one["type"] == "extra_forbidden":
                known = EntrySpec.model_fields if len(place) == 3 else ()
                text = unknown_key(place, known)
            else:
                text = f"{spoken(place)}: {one['msg']}"
            problems.append(f"{document.where(place)}: {text}")
        raise ConfigError("\n".join(problems), detail=problems) from None
    return [
        Override(
            provider=spec.provider,
            match=entry.model,
            start=entry.start_date or date.min,
            days=frozenset(map(_DAYS.index, entry.days or ())),
            when=entry.when,
            only_if_missing=entry.only_if_missing,
            prices={key: rate.rate for key, rate in entry.prices.items()},
            multiply=entry.multiply,
            as_at=entry.as_at,
            at_least=entry.at_least,
            context_window=entry.context_window,
            source=entry.source,
        )
        for entry in spec.entries
    ]
