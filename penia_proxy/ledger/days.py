"""
Part a span of time.

Its one job: the fewest pieces that a span consists of, of those whose sums are kept: years, months, tens of days and
days (`folds`), then hours (`rollups`), then what is left of hours at both ends (records).
Rules: pure. All of it is UTC. A unit is named by the beginning that the texts of its instants share (2026, 2026-11,
2026-11-2, 2026-11-23), so that SQL finds it as a part of a text.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple

Unit = Literal["year", "month", "ten", "day"]
UNITS: Mapping[Unit, int] = {"year": 4, "month": 7, "ten": 9, "day": 10}
"""How much of an instant's text names it, the widest first. A ten are the days of a month whose numbers begin alike."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)
_TENS = (1, 10, 20, 30)


class Span(NamedTuple):
    """A piece of time; ``end`` is not in it."""

    start: datetime
    end: datetime


class Parts(NamedTuple):
    """What a span consists of."""

    days: Span | None
    """Its whole days, at least one."""
    hours: tuple[Span, ...]
    """Its whole hours before and after them."""
    broken: tuple[Span, ...]
    """What is left before and after these."""


def hours_of(span: Span) -> Parts:
    """Part a span into hours; one that ends before it begins is a broken piece, in which nothing lies."""
    whole, around = _inner(span, HOUR)
    return Parts(None, () if whole is None else (whole,), around)


def parted(span: Span) -> Parts:
    """Part a span."""
    found = hours_of(span)
    if not found.hours:
        return found
    days, around = _inner(found.hours[0], DAY)
    return Parts(days, around, found.broken)


def units_of(days: Span) -> list[str]:
    """Return the names of the fewest units that are these whole days."""
    names = []
    day, last = days.start.date(), days.end.date()
    while day < last:
        unit = next(unit for unit in UNITS if _begins(unit, day) and _after(unit, day) <= last)
        names.append(day.isoformat()[: UNITS[unit]])
        day = _after(unit, day)
    return names


def _inner(span: Span, width: timedelta) -> tuple[Span | None, tuple[Span, ...]]:
    """Return the whole hours or days of a span, and what is left around them."""
    first, last = _floor(span.start + width - _INSTANT, width), _floor(span.end, width)
    if first >= last:
        return None, (span,)
    around = (Span(span.start, first), Span(last, span.end))
    return Span(first, last), tuple(piece for piece in around if piece.start != piece.end)


def _floor(instant: datetime, width: timedelta) -> datetime:
    if width == HOUR:
        return instant.replace(minute=0, second=0, microsecond=0)
    return datetime.combine(instant.date(), time.min, UTC)


def _begins(unit: Unit, day: date) -> bool:
    if unit == "day":
        return True
    return day.day in _TENS if unit == "ten" else day.day == 1 and (unit == "month" or day.month == 1)


def _after(unit: Unit, day: date) -> date:
    """Return the day after the unit that begins with a day."""
    if unit == "year":
        return date(day.year + 1, 1, 1)
    if unit == "day":
        return day + DAY
    month = (day.replace(day=1) + 31 * DAY).replace(day=1)
    later = [number for number in _TENS if number > day.day] if unit == "ten" else []
    # February has no thirties.
    return min(month, day + (later[0] - day.day) * DAY) if later else month
