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
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from penia_proxy.budget.ratecard import UNITS, Context, Rate
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


class TierSpec(_Strict):
    """A price for calls whose input exceeds ``start`` tokens."""

    start: int = Field(ge=0, strict=True)
    price: Amount


class RateSpec(_Strict):
    """A price, or a price with tiers."""

    base: Amount
    tiers: tuple[TierSpec, ...] = ()

    @property
    def rate(self) -> Rate:
        return Rate(self.base, tuple((tier.start, tier.price) for tier in self.tiers))

    @model_validator(mode="after")
    def _tiers_ascend(self) -> Self:
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
    """What the response must say for an entry to apply; empty: always."""

    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None

    def holds(self, context: Context) -> bool:
        """Whether a response in this context is meant."""
        return (
            self.service_tier in {None, context.tier}
            and self.speed in {None, context.speed}
            and self.inference_geo in {None, context.geo}
        )

    @property
    def is_always(self) -> bool:
        return self == When()


class EntrySpec(_Strict):
    """One dated entry, as ``pricing/README.md`` describes it."""

    model: ModelMatch
    start_date: date | None = None
    when: When = When()
    prices: dict[str, Annotated[RateSpec, BeforeValidator(lambda value: _as_rate(value))]] = {}  # noqa: PLW0108 - defined below
    multiply: Annotated[Decimal, BeforeValidator(_amount), Field(gt=0, le=10)] | None = None
    context_window: int | None = Field(default=None, gt=0, strict=True)
    source: str = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.prices and self.multiply is None and self.context_window is None:
            raise PydanticCustomError("entry", "an entry has prices, multiply or context_window")
        for key, rate in self.prices.items():
            if key not in UNITS:
                raise PydanticCustomError(
                    "price_key", "{text}", {"text": f"unknown price {key!r}{suggestion(key, UNITS)}"}
                )
            dearest = max(rate.base, *(tier.price for tier in rate.tiers), Decimal(0))
            if UNITS[key].is_tokens and dearest > TOKEN_PRICE_MAX:
                raise PydanticCustomError(
                    "price_unit", "{text}", {"text": f"{key} is USD per million tokens; {dearest} cannot be right"}
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
    when: When
    prices: Mapping[str, Rate]
    multiply: Decimal | None
    context_window: int | None

    @property
    def identity(self) -> tuple[Any, ...]:
        """Two entries with the same identity contradict each other."""
        return (self.provider, self.match, self.start, self.when)


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
                        f"{where}: the same model, date and 'when' as {first}; append with a new start_date"
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
            when=entry.when,
            prices={key: rate.rate for key, rate in entry.prices.items()},
            multiply=entry.multiply,
            context_window=entry.context_window,
        )
        for entry in spec.entries
    ]
