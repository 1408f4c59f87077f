"""
Say where a window will end.

Its one job: what will be spent at a window's end, with a range, and when its limit is reached, from the pace of this
window and the shape of the days before it: hours of the day, days of the week.
Rules: pure. Without a day of history before the window there is no shape, and it goes on in a straight line. Early in a
window its own pace counts little, late much. The range is that of eight windows in ten, by how much days have differed
from their shape. A projection decides nothing: no verdict reads it.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from penia_proxy.budget.windows import Window

HISTORY = timedelta(days=28)
"""Four of each weekday."""

HOUR_S = 3_600
DAY_HOURS = 24
WEEK_HOURS = 168

BELIEF_DAYS = 0.2

TRUSTED_DAYS = 0.5
"""The pace of a window counts for half once what was to be expected until now is that of so many days."""

TEN_TO_NINETY = 1.2816
"""Standard deviations from the middle to the 10th and the 90th percentile (normal)."""
SPREAD_MIN = 0.1
SPREAD_UNKNOWN = 0.5
"""Of a straight line, and of a shape with too few days to differ."""
SPREAD_MAX = 2.0
DAYS_MIN = 4

GROUNDED_PART = 1 / 8
"""Of a window: the first minutes of a budget say nothing of its month."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a window comes to."""

    expected_nanos: int
    low_nanos: int
    high_nanos: int
    exhausted_at: datetime | None
    """When the limit is reached, or was, at an even pace; None: not in this window."""
    shaped: bool
    """Whether earlier days have given it their shape."""
    grounded: bool
    """Whether it rests on enough to tell somebody: on earlier days, or on an eighth of the window."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much an hour of the week usually costs."""

    by_hour: tuple[float, ...]
    """Of an average day."""
    by_day: tuple[float, ...]
    """Of the week, 1 where a day is like the average; day 0 is a Thursday, as 1970 began with one."""
    spread: float
    """Standard deviation of days against their shape, relative."""

    def rate(self, hour: int) -> float:
        """Return nano-dollars in an hour, counted from 1970."""
        return self.by_hour[hour % DAY_HOURS] * self.by_day[hour % WEEK_HOURS // DAY_HOURS]

    def between(self, start: float, end: float) -> float:
        """Return nano-dollars between two instants in hours from 1970."""
        total = 0.0
        at = start
        while at < end:
            following = min(math.floor(at) + 1.0, end)
            total += self.rate(math.floor(at)) * (following - at)
            at = following
        return total


def shape_of(spent: Mapping[int, int], until: int) -> Shape | None:
    """Return the shape of what was spent by hour from 1970, before the hour ``until``; None where it is too little."""
    known = {hour: nanos for hour, nanos in spent.items() if hour < until and nanos > 0}
    if not known:
        return None
    first = max(min(known), until - int(HISTORY.total_seconds()) // HOUR_S)
    days = (until - first) // DAY_HOURS
    if days < 1:
        return None
    first = until - days * DAY_HOURS  # whole days, so that no hour of the day counts once more than another
    known = {hour: nanos for hour, nanos in known.items() if hour >= first}
    by_hour = [0.0] * DAY_HOURS
    totals: dict[int, float] = defaultdict(float)
    for hour, nanos in known.items():
        by_hour[hour % DAY_HOURS] += nanos / days
        totals[hour // DAY_HOURS] += nanos
    mean = sum(known.values()) / days
    if not mean:
        return None
    by_day = []
    for day in range(7):
        same = [number for number in range(first // DAY_HOURS, until // DAY_HOURS) if number % 7 == day]
        # The belief that a day is like any other counts a little; weekdays differ more than the same weekday does.
        by_day.append((sum(totals[number] / mean for number in same) + BELIEF_DAYS) / (len(same) + BELIEF_DAYS))
    shape = Shape(tuple(by_hour), tuple(by_day), SPREAD_UNKNOWN)
    ratios = [
        totals[number] / expected
        for number in range(-(-first // DAY_HOURS), until // DAY_HOURS)
        if (expected := shape.between(number * DAY_HOURS, (number + 1) * DAY_HOURS)) > 0
    ]
    if len(ratios) < DAYS_MIN:
        return shape
    return Shape(shape.by_hour, shape.by_day, min(max(statistics.pstdev(ratios), SPREAD_MIN), SPREAD_MAX))


def project(
    window: Window, since: datetime, now: datetime, spent_nanos: int, limit_nanos: int | None, shape: Shape | None
) -> Projection | None:
    """
    Return where a window ends; None for one that never does.

    ``since``: of a budget that was made within the window, when it was made, or has spent before. ``shape`` is that
    of the days before the window.
    """
    if window.end is None:
        return None
    start, at, end = (instant.timestamp() / HOUR_S for instant in (since, now, window.end))
    if at <= start:
        return Projection(spent_nanos, spent_nanos, spent_nanos, None, shaped=False, grounded=False)
    if shape is None:
        pace, line, spread = spent_nanos / (at - start), None, SPREAD_UNKNOWN
        usual, days, known = end - at, max(1.0, (end - at) / DAY_HOURS), math.inf
    else:
        day = sum(shape.by_hour)
        elapsed, trusted = shape.between(start, at), TRUSTED_DAYS * day
        pace, line, spread = (spent_nanos + trusted) / (elapsed + trusted), shape, shape.spread
        usual = shape.between(at, end)
        days, known = usual / day, elapsed / day + 1
    rest = pace * usual
    # Hours and days differ each for itself, so that of many the sum differs less, and of few more: of what is to come,
    # and of what the pace is known from.
    swing = rest * min(1.0, TEN_TO_NINETY * spread * math.sqrt(1 / days + 1 / known)) if days > 0 else 0.0
    exhausted = None
    if limit_nanos is not None and spent_nanos > limit_nanos:
        exhausted = start + (at - start) * limit_nanos / spent_nanos
    elif limit_nanos is not None and spent_nanos > 0:
        exhausted = _reached(limit_nanos - spent_nanos, at, end, pace, line)
    return Projection(
        spent_nanos + round(rest),
        spent_nanos + round(rest - swing),
        spent_nanos + round(rest + swing),
        None if exhausted is None else now + timedelta(hours=exhausted - at),
        shaped=line is not None,
        grounded=line is not None or now - since >= (window.end - window.start) * GROUNDED_PART,
    )


def _reached(left: int, at: float, end: float, pace: float, shape: Shape | None) -> float | None:
    """Return when so much more is spent, in hours from 1970; None where it is not before the end."""
    if shape is None:
        return at + left / pace if left / pace < end - at else None
    remaining = float(left)
    while at < end:
        following = min(math.floor(at) + 1.0, end)
        rate = pace * shape.rate(math.floor(at))
        spent = rate * (following - at)
        if spent > remaining:
            return at + remaining / rate
        remaining -= spent
        at = following
    return None
