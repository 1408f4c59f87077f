"""
Part a span of time.

Its one job: the fewest pieces that a span consists of, of those whose sums are kept: units from years down to some
hours (`folds`) or to one (`folds_by_name`), then hours (`rollups`), then what is left of hours at both ends (records).
Rules: pure. All of it is UTC. A unit is named by the beginning that the texts of its instants share (2026, 2026-11,
2026-11-2, 2026-11-23, 2026-11-23T1, 2026-11-23T12), so that SQL finds it as a part of a text.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

Bucket = Literal["hour", "day"]
"""What figures over time are told apart by."""
Unit = Literal["year", "month", "days", "day", "hours", "hour"]
UNITS: Mapping[Unit, int] = {"year": 4, "month": 7, "days": 9, "day": 10, "hours": 12, "hour": 13}
"""
How much of an instant's text names it, the widest first. Days and hours in the plural are those whose numbers begin
alike: the first nine of a month, ten, ten, and what it has of thirties; ten hours, ten, and four.
"""
LONG: Mapping[Unit, int] = {unit: width for unit, width in UNITS.items() if unit != "hour"}
"""Those in which names that go together are summed; of one hour `rollups` says as much."""

DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_ALIKE = 10


class Span(NamedTuple):
    """A piece of time; ``end`` is not in it."""

    start: datetime
    end: datetime


class Parts(NamedTuple):
    """What a span consists of."""

    units: Span | None
    """What of it is whole units."""
    hours: tuple[Span, ...]
    """Its whole hours before and after that."""
    broken: tuple[Span, ...]
    """What is left before and after these."""


def hours_of(span: Span) -> Parts:
    """Part a span into hours; one that ends before it begins is a broken piece, in which nothing lies."""
    whole, around = _inner(span, 1)
    return Parts(None, () if whole is None else (whole,), around)


def parted(span: Span, *, every_hour: bool = False) -> Parts:
    """Part a span; ``every_hour``: an hour is a unit, too, so that there are none around units."""
    found = hours_of(span)
    if not found.hours:
        return found
    if every_hour:
        return Parts(found.hours[0], (), found.broken)
    units, around = _inner(found.hours[0], _ALIKE)
    return Parts(units, around, found.broken)


def units_of(span: Span, usable: Iterable[Unit] = LONG) -> list[str]:
    """Return the names of the fewest units that such a span is, of those that are usable, the widest first."""
    usable = [*usable]
    names = []
    begin = span.start
    while begin < span.end:
        unit = next(unit for unit in usable if _begins(unit, begin) and _after(unit, begin) <= span.end)
        names.append(begin.isoformat()[: UNITS[unit]])
        begin = _after(unit, begin)
    return names


def _inner(span: Span, hours: int) -> tuple[Span | None, tuple[Span, ...]]:
    """Return what of a span begins and ends with such hours of the day, and what is left around it."""
    first, last = (_floor(instant, hours) for instant in span)
    if first != span.start:
        first = _next(first, hours)
    if first >= last:
        return None, (span,)
    around = (Span(span.start, first), Span(last, span.end))
    return Span(first, last), tuple(piece for piece in around if piece.start != piece.end)


def _floor(instant: datetime, hours: int) -> datetime:
    return instant.replace(hour=instant.hour // hours * hours, minute=0, second=0, microsecond=0)


def _next(begin: datetime, hours: int) -> datetime:
    return _floor(begin + hours * _HOUR, hours)  # of ten hours the last are four, and the next day begins


def _begins(unit: Unit, instant: datetime) -> bool:
    """Return whether a unit begins then; of all instants at which hours do."""
    first_of_month = instant.day == 1 and instant.hour == 0
    return {
        "year": first_of_month and instant.month == 1,
        "month": first_of_month,
        "days": first_of_month or (instant.day % _ALIKE == 0 and instant.hour == 0),
        "day": instant.hour == 0,
        "hours": instant.hour % _ALIKE == 0,
        "hour": True,
    }[unit]


def _after(unit: Unit, begin: datetime) -> datetime:
    """Return when the unit that begins then is over."""
    if unit == "hour":
        return begin + _HOUR
    if unit == "hours":
        return _next(begin, _ALIKE)
    if unit == "day":
        return begin + DAY
    if unit == "year":
        return begin.replace(year=begin.year + 1)
    month = (begin.replace(day=1) + 31 * DAY).replace(day=1)
    return month if unit == "month" else min(month, begin + (_ALIKE - begin.day % _ALIKE) * DAY)
