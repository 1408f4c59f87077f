"""
Measure how well windows are projected, on histories that are made up.

Its one job: at several moments of a day and of a month, the projected end against what really came, by the shape of
earlier days and in a straight line.
Run: python -m benchmarks.projections
"""

import random
import statistics
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from penia_proxy.budget.projection import HISTORY, HOUR_S, project, shape_of
from penia_proxy.budget.windows import Window

DAYS = 70
WINDOWS = 30
"""Of each history; seeds give another history each."""
SEEDS = 5
MONDAY = datetime(2026, 8, 3, tzinfo=UTC)
USD = 1_000_000_000

Usual = Callable[[datetime], float]


def office(at: datetime) -> float:
    """Return what people cost who work by day, hardly on weekends."""
    return (1.0 if 8 <= at.hour < 18 else 0.02) * (0.1 if at.weekday() >= 5 else 1.0)


def nightly(at: datetime) -> float:
    """Return what a job at two in the morning costs, and little besides."""
    return 8.0 if at.hour == 2 else 0.1


def steady(_at: datetime) -> float:
    """Return what agents cost that never sleep."""
    return 0.4


def growing(at: datetime) -> float:
    """Return what the office costs, a tenth more each week."""
    weeks: float = (at - MONDAY) / timedelta(weeks=1)
    return office(at) * 1.1**weeks


def history(usual: Usual, seed: int) -> dict[int, int]:
    """Return spend by hour: the usual times log-normal noise of hours and of days."""
    draw = random.Random(seed)
    spent = {}
    for day in range(DAYS):
        of_day = draw.lognormvariate(0, 0.25)
        for hour in range(24):
            at = MONDAY + timedelta(days=day, hours=hour)
            spent[_hour(at)] = round(usual(at) * of_day * draw.lognormvariate(0, 0.5) * USD)
    return spent


def _hour(at: datetime) -> int:
    return int(at.timestamp()) // HOUR_S


def windows(period: str) -> Iterator[Window]:
    """Yield windows in the last part of a history."""
    if period == "daily":
        for day in range(DAYS - WINDOWS, DAYS):
            start = MONDAY + timedelta(days=day)
            yield Window("daily", start, start + timedelta(days=1))
    else:
        for back in range(4):
            start = MONDAY + timedelta(days=DAYS - 28 - back)
            yield Window("monthly", start, start + timedelta(days=28))


def errors(usual: Usual, period: str, part: float) -> tuple[float, float, float]:
    """Return the median error by shape and in a line, and the share of ends inside the range."""
    shaped, straight, inside = [], [], []
    for seed in range(SEEDS):
        spent = history(usual, seed)
        for window in windows(period):
            if window.end is None:
                continue
            now = window.start + (window.end - window.start) * part
            now = now.replace(minute=0, second=0, microsecond=0)
            first, at, last = _hour(window.start), _hour(now), _hour(window.end)
            past = {hour: nanos for hour, nanos in spent.items() if _hour(now - HISTORY) <= hour < at}
            so_far = sum(nanos for hour, nanos in past.items() if hour >= first)
            actual = sum(nanos for hour, nanos in spent.items() if first <= hour < last)
            found = project(window, window.start, now, so_far, None, shape_of(past, at))
            line = project(window, window.start, now, so_far, None, None)
            if found is not None and line is not None:
                shaped.append(abs(found.expected_nanos / actual - 1))
                straight.append(abs(line.expected_nanos / actual - 1))
                inside.append(found.low_nanos <= actual <= found.high_nanos)
    return statistics.median(shaped), statistics.median(straight), statistics.mean(inside)


def main() -> None:
    """Print the table."""
    print("| spend | window | after | off by | in a straight line | inside the range |")
    print("|---|---|---:|---:|---:|---:|")
    for usual in (office, nightly, steady, growing):
        for period in ("daily", "monthly"):
            for part in (0.25, 0.5, 0.75):
                shaped, straight, inside = errors(usual, period, part)
                print(f"| {usual.__name__} | {period} | {part:.0%} | {shaped:.0%} | {straight:.0%} | {inside:.0%} |")


if __name__ == "__main__":
    main()
