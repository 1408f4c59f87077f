"""
Say what a field of the API may hold.

Its one job: the types that several resources' queries and bodies share, and the base of both.
Rules: unknown fields are errors; text is one line without control characters, because it ends up in headers, logs and
pages; an instant without an offset is UTC, and a date alone is the whole day.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Generic, TypeVar, get_args

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from penia_proxy.clock import from_iso
from penia_proxy.config import Period
from penia_proxy.errors import InvalidRequest
from penia_proxy.ids import REQUEST_ID

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Instants beyond these are mistakes, and arithmetic on them may leave the calendar."""

DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")
METADATA_BYTES_MAX = 16_384
TAGS_MAX = 32
TOKENS_MAX = 1_000_000_000_000
"""Per field of one record: far above any call, and sums of a ledger stay inside 64 bits."""


class Sent(BaseModel):
    """What a client sends, as query or body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(BaseModel):
    """What we answer. These models describe; handlers answer plain JSON, and tests hold it against them."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class Nothing(Sent):
    """No query, or no body."""


Item = TypeVar("Item")


class Page(Shown, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    total: Annotated[int, Field(description="All matches, on whatever page.")]
    page: int
    limit: int


class Paged(Sent):
    """Which page."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Field(ge=1, le=100)] = 20


def _known_period(value: Any) -> Any:
    if isinstance(value, str) and value not in get_args(Period):
        # 400 and not 422: an unknown period is a value nobody has, wherever it stands.
        raise InvalidRequest(f"period must be one of {', '.join(get_args(Period))}.")
    return value


PeriodName = Annotated[Period, BeforeValidator(_known_period)]
"""An unknown period is a 400."""

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\x85\u2028\u2029]*$")]
"""Text on one line."""
Name = Annotated[Line, StringConstraints(min_length=1, max_length=200)]
Filter = Annotated[Line, StringConstraints(max_length=200)]


def _request_id(value: str) -> str:
    if not REQUEST_ID.fullmatch(value):
        raise ValueError("has the form in which Penia names corrections")
    return value


RecordId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$"), AfterValidator(_request_id)]
"""As `penia_proxy.ids.REQUEST_ID`."""
Tokens = Annotated[int, Field(ge=0, le=TOKENS_MAX)]


def _instant(value: Any, *, date_days: int = 0) -> datetime:
    """Read text; a date alone is its midnight, ``date_days`` later."""
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 text")  # noqa: TRY004 - pydantic takes ValueErrors
    try:
        instant = from_iso(value)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 instant, e.g. 2026-11-23T09:38:24Z") from None
    if not EARLIEST <= instant < LATEST:
        raise ValueError(f"must lie between {EARLIEST.year} and {LATEST.year}")
    return instant + timedelta(days=date_days) if DATE.fullmatch(value) else instant


_MOMENT = {
    "anyOf": [{"type": "string", "format": kind, "pattern": "^20[0-9]{2}-"} for kind in ("date-time", "date")],
    "description": "An ISO 8601 instant, UTC unless it says otherwise, or a date.",
}

Instant = Annotated[datetime, PlainValidator(_instant), WithJsonSchema(_MOMENT)]
"""UTC."""
Since = Annotated[datetime, PlainValidator(_instant), WithJsonSchema(_MOMENT)]
"""The first instant of a range; a date is its first moment."""
Until = Annotated[datetime, PlainValidator(partial(_instant, date_days=1)), WithJsonSchema(_MOMENT)]
"""The instant before which a range ends; a date is inclusive to its end."""


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(metadata))
    except TypeError:  # an integer beyond 64 bits
        raise ValueError("must hold what every JSON parser can read") from None
    if size > METADATA_BYTES_MAX:
        raise ValueError(f"must be smaller than {METADATA_BYTES_MAX} bytes")
    return metadata


Metadata = Annotated[dict[str, Any], AfterValidator(_small)]
Tags = Annotated[dict[Name, Annotated[Line, StringConstraints(max_length=200)]], Field(max_length=TAGS_MAX)]


def given(filters: Mapping[str, str]) -> dict[str, str]:
    """Drop what is empty: a form sends every field, and an empty one asks for nothing."""
    return {name: value for name, value in filters.items() if value}
