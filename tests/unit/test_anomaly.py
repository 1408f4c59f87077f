"""An hour is odd that costs far more than such hours do; thin data and small change are never odd."""

import random
from datetime import UTC, datetime, timedelta

from penia_proxy.budget.anomaly import FLOOR_NANOS, HOURS_MIN, odd_beyond
from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.watch.habits import Habits, limits_of

USD = 1_000_000_000
NOW = datetime(2026, 11, 23, 12, 20, tzinfo=UTC)


def record(nanos: int, at: datetime = NOW, component: str = "agent", corrects: str | None = None) -> UsageRecord:
    return UsageRecord("r", at, component, "openai", "gpt-4o", Usage(), "reported", nanos, None, corrects=corrects)


def test_thin_data_says_nothing() -> None:
    """A day of hours is needed."""
    assert odd_beyond([USD] * (HOURS_MIN - 1)) is None
    assert odd_beyond([USD] * HOURS_MIN) == 2 * USD


def test_small_change_is_never_odd() -> None:
    """Whatever it is of what is usual."""
    assert odd_beyond([1] * 100) == FLOOR_NANOS


def test_what_varies_may_vary() -> None:
    """Hours that differ widely raise no alarm by themselves, and a bad hour does not hide the next."""
    draw = random.Random(7)
    hours = [round(USD * draw.lognormvariate(0, 0.8)) for _ in range(300)]
    beyond = odd_beyond(hours)
    assert beyond is not None
    assert sum(hour > beyond for hour in hours) <= 3
    assert odd_beyond([*hours, 1_000 * USD]) == odd_beyond([*hours, 10 * USD])


def test_an_hour_is_odd_once_it_has_cost_too_much() -> None:
    """The present hour adds up; another component's, another hour's and a correction do not count."""
    habits = Habits()
    hour = NOW.replace(minute=0)
    habits.learn(limits_of({"agent": [USD] * 50, "idle": [0] * 50}), {"agent": USD}, hour)

    assert habits.take(record(USD)) is None
    assert habits.take(record(5 * USD, component="other")) is None
    assert habits.take(record(5 * USD, NOW - timedelta(hours=1))) is None
    assert habits.take(record(5 * USD, corrects="r_0")) is None
    odd = habits.take(record(1))

    assert odd is not None
    assert (odd.component, odd.hour, odd.spent_nanos, odd.beyond_nanos) == ("agent", hour, 2 * USD + 1, 2 * USD)
    assert habits.knows(NOW)
    assert not habits.knows(NOW + timedelta(hours=1))
