"""
Say which window of a period an instant falls in.

Its one job: (instant, period, time zone, week start, month start day) → the half-open UTC interval [start, end).
Rules:

* The windows of a period tile time: no gap, no overlap, none empty. There is no reset job: a new window is a new key.
* A local day starts at the first instant at which the local clock reads its midnight or later. So a midnight that does
  not exist (Beirut, 2026-03-29) starts its day when the gap ends, one that happens twice (Havana) starts it the first
  time, and a day that was skipped (Apia, 2011-12-30) has no window. Weeks and months start with their first day.
* A month that is shorter than the start day starts on its last day.
* Hours are real hours of 3,600 s counted from the start of the local day, so they follow the local clock (Kathmandu's
  start at :15 UTC), nest in days, and a repeated clock hour is two windows. Where the clock moves by a fraction of an
  hour (Lord Howe), the hours keep their beat until midnight and the last one of that day is short.
* `total` starts in 1970 and never ends. Instants before 1970 or after the year 9000 are refused: no call was made then.

It must not know limits, budgets or the present time.
"""

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple, get_args
from zoneinfo import ZoneInfo, available_timezones

from penia_proxy.config import Period, Weekday
from penia_proxy.errors import InvalidRequest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERIODS: tuple[Period, ...] = get_args(Period)
_WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_LAST = datetime(9001, 1, 1, tzinfo=UTC)
"""Far enough from the last date there is that a month's arithmetic cannot overflow."""


class Window(NamedTuple):
    """One window of a period: ``start <= instant < end``, both UTC; ``end`` is None for `total`."""

    period: Period
    start: datetime
    end: datetime | None


class WindowKey(NamedTuple):
    """Names one budget's window; what spend is counted under."""

    budget_id: str
    period: Period
    start: datetime


@dataclass(frozen=True)
class Calendar:
    """Where a budget's windows begin and end. Made by `Calendar.of`."""

    timezone: str
    week_start: Weekday
    month_start_day: int
    _zone: ZoneInfo = field(repr=False, compare=False)
    _last: dict[Period, Window] = field(default_factory=dict, repr=False, compare=False)
    """The window each period was asked for last: most instants fall in it again. Holds facts, so it is never stale."""
    _nested: list[tuple[Window, ...]] = field(default_factory=list, repr=False, compare=False)
    """The five windows that were asked for last: all contain the first of them, the hour."""

    @classmethod
    def of(cls, timezone: str, week_start: Weekday, month_start_day: int) -> "Calendar":
        """Return the calendar; equal arguments give the same object. Raises InvalidRequest for an unknown time zone."""
        return _calendar(timezone, week_start, month_start_day)

    def window(self, period: Period, instant: datetime) -> Window:
        """
        Return the window of the period that contains the aware instant.

        Raises InvalidRequest for an instant before 1970 or after the year 9000.
        """
        last = self._last.get(period)
        if last is not None and last.start <= instant and (last.end is None or instant < last.end):
            return last
        if not EPOCH <= instant < _LAST:
            raise InvalidRequest(f"the year {instant.year} is out of range: 1970 to 9000")
        window = self._find(period, instant.astimezone(UTC))
        self._last[period] = window
        return window

    def windows(self, instant: datetime) -> tuple[Window, ...]:
        """
        Return the five windows that contain the instant: hourly, daily, weekly, monthly, total.

        In an hour it is the same tuple each time, by which counters recognise it.
        """
        for nested in self._nested:
            hour = nested[0]
            if hour.start <= instant and (hour.end is None or instant < hour.end):
                return nested
        nested = tuple(self.window(period, instant) for period in _PERIODS)
        self._nested[:] = [nested]
        return nested

    def _find(self, period: Period, instant: datetime) -> Window:
        if period == "total":
            return Window(period, EPOCH, None)
        day = self._day(instant)
        if period == "hourly":
            start = self._start(day)
            start += (instant - start) // _HOUR * _HOUR
            return Window(period, start, min(start + _HOUR, self._start(day + _DAY)))
        if period == "daily":
            return self._span(period, day, day + _DAY)
        if period == "weekly":
            first = day - _DAY * ((day.weekday() - _WEEKDAYS.index(self.week_start)) % 7)
            return self._span(period, first, first + 7 * _DAY)
        month = day.year * 12 + day.month - 1
        if day < self._month_start(month):
            month -= 1
        return self._span(period, self._month_start(month), self._month_start(month + 1))

    def _span(self, period: Period, first: date, following: date) -> Window:
        return Window(period, self._start(first), self._start(following))

    def _month_start(self, month: int) -> date:
        """Return the first day of the budget's month; months count from January of year 0."""
        year, index = divmod(month, 12)
        return date(year, index + 1, min(self.month_start_day, monthrange(year, index + 1)[1]))

    def _day(self, instant: datetime) -> date:
        """Return the latest day that has started: the local date, unless the clock went back over a midnight."""
        day = instant.astimezone(self._zone).date()
        while self._start(day + _DAY) <= instant:
            day += _DAY
        return day

    def _start(self, day: date) -> datetime:
        """Return the first instant at which the local clock reads the day's midnight or later."""
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a reading of the local clock
        first, second = (midnight.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first <= second:  # one midnight, or the first of two
            return first
        return _bisect(second, first, lambda at: at.astimezone(self._zone).replace(tzinfo=None) >= midnight)


@cache
def _calendar(timezone: str, week_start: Weekday, month_start_day: int) -> Calendar:
    if timezone not in _zones():
        raise InvalidRequest(f"unknown time zone {timezone[:64]!r}: use an IANA name such as 'Europe/Berlin'")
    return Calendar(timezone, week_start, month_start_day, ZoneInfo(timezone))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime"}  # this machine's setting, under a name that is no zone's


def _bisect(before: datetime, after: datetime, reached: Callable[[datetime], bool]) -> datetime:
    """Return the end of a gap in the clock: the first whole second in (before, after] at which it has ``reached``."""
    low, high = 0, int((after - before) / _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if reached(before + middle * _SECOND):
            high = middle
        else:
            low = middle
    return before + high * _SECOND
