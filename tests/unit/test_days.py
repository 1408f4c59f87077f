"""Spans of time in pieces: they meet, they do not overlap, and they are few."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.ledger.days import DAY, UNITS, Span, hours_of, parted, units_of

LOWEST = datetime(2000, 1, 1, tzinfo=UTC)
INSTANTS = st.builds(
    lambda days, within: LOWEST + timedelta(days=days) + within,
    st.integers(0, 36_000),
    st.just(timedelta())
    | st.integers(0, 23).map(lambda hours: timedelta(hours=hours))
    | st.timedeltas(timedelta(), DAY),
)


def days_of(name: str) -> list[str]:
    """Return the days of the calendar whose text begins with a unit's name."""
    first = date(int(name[:4]), 1, 1)
    days = ((first + number * DAY).isoformat() for number in range(366))
    return [day for day in days if day.startswith(name)]


@given(INSTANTS, INSTANTS)
def test_the_pieces_are_the_span(one: datetime, other: datetime) -> None:
    """Days, hours around them and what is left of hours meet, do not overlap, and have their own widths."""
    start, end = sorted((one, other))
    for parts in (parted(Span(start, end)), hours_of(Span(start, end))):
        days = [] if parts.days is None else [parts.days]
        pieces = sorted([*days, *parts.hours, *parts.broken])
        assert [left.end == right.start for left, right in pairwise(pieces)] == [True] * (len(pieces) - 1)
        assert (pieces[0].start, pieces[-1].end) == (start, end)
        assert len(parts.broken) <= 2
        for piece in (*days, *parts.hours):
            assert piece.start < piece.end
            assert all(edge.minute == edge.second == edge.microsecond == 0 for edge in piece)
        assert all(edge.hour == 0 for piece in days for edge in piece)


@given(INSTANTS, INSTANTS)
def test_what_is_whole_is_not_left_in_parts(one: datetime, other: datetime) -> None:
    """Of hours around whole days there are less than a day on each side; of what is left, less than an hour."""
    parts = parted(Span(*sorted((one, other))))

    if parts.days is not None:
        assert all(piece.end - piece.start < DAY for piece in parts.hours)
        assert all(piece.end - piece.start < timedelta(hours=1) for piece in parts.broken)


def test_a_span_that_ends_before_it_begins_is_nothing() -> None:
    """It is one broken piece, in which nothing lies."""
    span = Span(datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 21, 12, tzinfo=UTC))

    assert parted(span) == (None, (), (span,))


@given(st.integers(0, 36_000), st.integers(1, 3_000))
def test_units_are_their_days(first: int, number: int) -> None:
    """What the units' names begin are the days of the span, each once."""
    start = LOWEST + first * DAY
    names = units_of(Span(start, start + number * DAY))

    found = [day for name in names for day in days_of(name)]
    assert found == [(start + index * DAY).date().isoformat() for index in range(number)]
    assert {len(name) for name in names} <= set(UNITS.values())


@pytest.mark.parametrize(
    ("start", "end", "names"),
    [
        ((2026, 1, 1), (2027, 1, 1), ["2026"]),
        ((2026, 2, 1), (2026, 3, 1), ["2026-02"]),
        ((2026, 2, 10), (2026, 3, 1), ["2026-02-1", "2026-02-2"]),
        ((2028, 2, 20), (2028, 3, 2), ["2028-02-2", "2028-03-01"]),
        ((2026, 10, 30), (2026, 11, 10), ["2026-10-3", "2026-11-0"]),
        ((2026, 11, 23), (2026, 11, 25), ["2026-11-23", "2026-11-24"]),
        ((2025, 12, 31), (2027, 2, 2), ["2025-12-31", "2026", "2027-01", "2027-02-01"]),
    ],
)
def test_units_are_the_widest_that_fit(
    start: tuple[int, int, int], end: tuple[int, int, int], names: list[str]
) -> None:
    """Years, months, tens of days and days; the thirties are what a month has of them."""
    assert units_of(Span(datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))) == names


def test_a_month_of_days_is_few_units() -> None:
    """Whichever day 30 days begin with, they are at most 17 units."""
    begins = [datetime(2026, 1, 1, tzinfo=UTC) + number * DAY for number in range(365)]

    assert max(len(units_of(Span(begin, begin + 30 * DAY))) for begin in begins) <= 17
