"""Where a window will end: in a straight line without a past, by the shape of the past with one."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from penia_proxy.budget.projection import HOUR_S, Projection, Shape, project, shape_of
from penia_proxy.budget.windows import EPOCH, Window

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
DAY = Window("daily", MONDAY, MONDAY + timedelta(days=1))
USD = 1_000_000_000


def hour_of(instant: datetime) -> int:
    return int(instant.timestamp()) // HOUR_S


def straight(spent: int, hours: float, limit: int | None = None) -> Projection:
    found = project(DAY, DAY.start, DAY.start + timedelta(hours=hours), spent, limit, None)
    assert found is not None
    return found


def office(until: datetime, days: int = 28, *, noise: float = 0.0, seed: int = 1) -> dict[int, int]:
    """Spend of a team that works from 8 to 18 UTC, a fifth of it on weekends: a dollar an hour on a working day."""
    draw = random.Random(seed)
    spent = {}
    for back in range(1, days * 24 + 1):
        at = until - timedelta(hours=back)
        usual = (1.0 if 8 <= at.hour < 18 else 0.02) * (0.2 if at.weekday() >= 5 else 1.0)
        spent[hour_of(at)] = round(usual * USD * draw.lognormvariate(0, noise))
    return spent


@pytest.mark.parametrize(("hours", "end"), [(0, 100), (6, 400), (12, 200), (24, 100)])
def test_without_a_past_it_goes_on_as_it_has(hours: int, end: int) -> None:
    """In a straight line to the window's end; at its very start nothing can be said beyond it."""
    assert straight(100, hours).expected_nanos == end


def test_a_budget_made_within_the_window_counts_from_then() -> None:
    """The hours before it are not hours without spend."""
    found = project(DAY, MONDAY.replace(hour=12), MONDAY.replace(hour=18), 100, None, None)

    assert found is not None
    assert found.expected_nanos == 200


def test_what_never_ends_has_no_projection() -> None:
    """The total has no end to be spent at."""
    assert project(Window("total", EPOCH, None), EPOCH, MONDAY, 100, 200, None) is None


@pytest.mark.parametrize(
    ("spent", "limit", "hour"),
    [(100, 200, 12), (100, 400, None), (100, 399, 23), (0, 1, None), (100, None, None), (100, 50, 3), (100, 0, 0)],
)
def test_when_a_limit_is_reached(spent: int, limit: int | None, hour: int | None) -> None:
    """At six o'clock: twice as much is reached at twelve; what is not reached today is not reached at all."""
    at = straight(spent, 6, limit).exhausted_at

    assert (at and (at.day, at.hour)) == (None if hour is None else (23, hour))


def test_a_limit_far_away_does_not_leave_the_calendar() -> None:
    """The greatest limit at the smallest pace is simply not reached."""
    assert straight(1, 23, 10**18).exhausted_at is None


def test_too_little_is_no_shape() -> None:
    """Nothing, or less than a day."""
    assert shape_of({}, 100) is None
    assert shape_of({90: 5}, 100) is None
    assert shape_of({200: 5}, 100) is None


def test_nights_and_weekends_are_known() -> None:
    """At eight on Monday next to nothing is spent, and ten working hours are to come; on Saturday a fifth of them."""
    morning = MONDAY.replace(hour=8)
    shape = shape_of(office(morning), hour_of(morning))

    monday = project(DAY, DAY.start, morning, round(0.16 * USD), None, shape)
    saturday = Window("daily", MONDAY - timedelta(days=2), MONDAY - timedelta(days=1))
    early = saturday.start + timedelta(hours=8)
    weekend = project(saturday, saturday.start, early, round(0.032 * USD), None, shape)

    assert monday is not None
    assert weekend is not None
    assert monday.shaped
    assert monday.expected_nanos / USD == pytest.approx(10.28, rel=0.15)
    assert weekend.expected_nanos / USD == pytest.approx(2.06, rel=0.35)
    assert straight(round(0.16 * USD), 8).expected_nanos < USD, "a straight line would have seen half a dollar"


def test_its_own_pace_counts_more_and_more() -> None:
    """Twice the usual spend by evening is nearly twice the usual day."""
    shape = shape_of(office(MONDAY), hour_of(MONDAY))
    ends = []
    for hours, spent in ((9, 2.32), (13, 10.32), (18, 20.32)):
        found = project(DAY, DAY.start, DAY.start + timedelta(hours=hours), round(spent * USD), None, shape)
        assert found is not None
        ends.append(found.expected_nanos / USD)

    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(20.6, rel=0.02)
    assert ends[0] < 15


def test_a_limit_is_reached_when_the_shape_reaches_it() -> None:
    """At night it takes long, by day it goes fast: half of ten dollars are gone by one o'clock."""
    shape = shape_of(office(MONDAY), hour_of(MONDAY))
    found = project(DAY, DAY.start, DAY.start + timedelta(hours=8), round(0.16 * USD), 5 * USD, shape)

    assert found is not None
    assert found.exhausted_at is not None
    assert 12 <= found.exhausted_at.hour <= 13


def test_the_range_holds_what_comes() -> None:
    """Of noisy days most end inside it, and it is not the whole world."""
    inside, width = 0, 0.0
    for seed in range(40):
        known = office(MONDAY + timedelta(days=1), 29, noise=0.6, seed=seed)
        noon = MONDAY.replace(hour=12)
        spent = sum(nanos for hour, nanos in known.items() if hour_of(MONDAY) <= hour < hour_of(noon))
        actual = sum(nanos for hour, nanos in known.items() if hour >= hour_of(MONDAY))
        before = {hour: nanos for hour, nanos in known.items() if hour < hour_of(noon)}
        found = project(DAY, DAY.start, noon, spent, None, shape_of(before, hour_of(noon)))
        assert found is not None
        inside += found.low_nanos <= actual <= found.high_nanos
        width += (found.high_nanos - found.low_nanos) / actual
    assert inside >= 28
    assert width / 40 < 0.8


def test_a_shape_is_what_an_hour_costs() -> None:
    """Parts of hours count as parts."""
    shape = Shape(tuple(float(hour) for hour in range(24)), (1.0,) * 7, 0.1)

    assert shape.between(0, 24) == sum(range(24))
    assert shape.between(10.5, 11.25) == 5.0 + 2.75
