"""
Say when an hour costs far more than such hours do.

Its one job: from what a component's past hours have cost, the amount beyond which an hour is not one of them.
Rules: pure. Medians, because one bad hour must not make the next look good. Nothing is said on thin data, nor of small
change. Idle hours are left out: a component that works at night is not odd because it sleeps by day.
"""

import statistics
from collections.abc import Sequence

HOURS_MIN = 24
"""Hours with spend that have to be known."""
FLOOR_NANOS = 100_000_000
"""Ten cents: whoever is woken for less will not get up the next time."""
DEVIATIONS = 8
"""Of a standard deviation, as the median deviation tells it, beyond the median."""
NORMAL = 1.4826
"""Standard deviation ÷ median absolute deviation of the normal distribution."""
TIMES_HIGH = 2
"""And twice what only one hour in twenty has cost: spend is not normal, it has a long tail."""


def odd_beyond(hours: Sequence[int]) -> int | None:
    """Return the nano-dollars beyond which an hour is odd, of a component whose hours have cost this; None: unknown."""
    if len(hours) < HOURS_MIN:
        return None
    middle = statistics.median(hours)
    deviation = statistics.median(abs(hour - middle) for hour in hours)
    high = sorted(hours)[int(0.95 * (len(hours) - 1))]
    return max(FLOOR_NANOS, TIMES_HIGH * high, round(middle + DEVIATIONS * NORMAL * deviation))
