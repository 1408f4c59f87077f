"""Spans of time in pieces: they meet, they do not overlap, and they are few."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.ledger.days import DAY, LONG, UNITS, Span, Unit, hours_of, parted, units_of

LOWEST = datetime(2000, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANTS = st.builds(
    lambda days, within: LOWEST + days * DAY + within,
    st.integers(0, 36_000),
    st.just(timedelta()) | st.integers(0, 23).map(lambda hours: hours * HOUR) | st.timedeltas(timedelta(), DAY),
)
BEGINS = st.builds(
    lambda days, hour: LOWEST + days * DAY + hour * HOUR, st.integers(0, 36_000), st.sampled_from((0, 10, 20))
)


@given(INSTANTS, INSTANTS)
def test_the_pieces_are_the_span(one: datetime, other: datetime) -> None:
    """Units, hours around them and what is left of hours meet, do not overlap, and begin and end with what they are."""
    start, end = sorted((one, other))
    for parts in (parted(Span(start, end)), hours_of(Span(start, end)), parted(Span(start, end), every_hour=True)):
        units = [] if parts.units is None else [parts.units]
        pieces = sorted([*units, *parts.hours, *parts.broken])
        assert [left.end == right.start for left, right in pairwise(pieces)] == [True] * (len(pieces) - 1)
        assert (pieces[0].start, pieces[-1].end) == (start, end)
        for piece in (*units, *parts.hours):
            assert piece.start < piece.end
            assert all(edge.minute == edge.second == edge.microsecond == 0 for edge in piece)
        whole = range(24) if parts == parted(Span(start, end), every_hour=True) else (0, 10, 20)
        assert all(edge.hour in whole for piece in units for edge in piece)


@given(INSTANTS, INSTANTS)
def test_what_is_whole_is_not_left_in_parts(one: datetime, other: datetime) -> None:
    """Of hours around units there are at most nine on each side; of what is left, less than an hour."""
    parts = parted(Span(*sorted((one, other))))

    if parts.units is not None:
        assert all(piece.end - piece.start <= 9 * HOUR for piece in parts.hours)
        assert all(piece.end - piece.start < HOUR for piece in parts.broken)


def test_a_span_that_ends_before_it_begins_is_nothing() -> None:
    """It is one broken piece, in which nothing lies."""
    span = Span(datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 21, 12, tzinfo=UTC))

    assert parted(span) == (None, (), (span,))


@settings(deadline=None)
@given(BEGINS, st.integers(0, 90), st.sampled_from((0, 10, 20)), st.sampled_from(([*LONG], ["day", "hours"], ["hour"])))
def test_units_are_their_hours(start: datetime, days: int, hour: int, usable: list[Unit]) -> None:
    """What the units' names begin are the hours of the span, each once, and none before or after it."""
    end = start.replace(hour=hour) + days * DAY
    names = units_of(Span(start, end), usable)
    around = [(start + index * HOUR).isoformat() for index in range(-32 * 24, (days + 32) * 24)]

    found = [text for name in names for text in around if text.startswith(name)]
    assert found == [text for text in around if start.isoformat() <= text < end.isoformat()]
    assert {len(name) for name in names} <= {UNITS[unit] for unit in usable}


@pytest.mark.parametrize(
    ("start", "end", "names"),
    [
        ((2026, 1, 1), (2027, 1, 1), ["2026"]),
        ((2026, 2, 1), (2026, 3, 1), ["2026-02"]),
        ((2026, 2, 10), (2026, 3, 1), ["2026-02-1", "2026-02-2"]),
        ((2028, 2, 20), (2028, 3, 2), ["2028-02-2", "2028-03-01"]),
        ((2026, 10, 30), (2026, 11, 10), ["2026-10-3", "2026-11-0"]),
        ((2026, 11, 23, 20), (2026, 11, 25, 10), ["2026-11-23T2", "2026-11-24", "2026-11-25T0"]),
        ((2026, 11, 23, 10), (2026, 11, 24), ["2026-11-23T1", "2026-11-23T2"]),
        ((2025, 12, 31), (2027, 2, 2), ["2025-12-31", "2026", "2027-01", "2027-02-01"]),
        ((2026, 11, 23), (2026, 11, 23), []),
    ],
)
def test_units_are_the_widest_that_fit(
    start: tuple[int, int, int], end: tuple[int, int, int], names: list[str]
) -> None:
    """Years, months, days, a day and hours; of a month's thirties there are what it has, of a day's twenties four."""
    assert units_of(Span(datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))) == names


def test_a_month_of_days_is_few_units() -> None:
    """Whichever day 30 days begin with, they are at most 17 units."""
    begins = [datetime(2026, 1, 1, tzinfo=UTC) + number * DAY for number in range(365)]

    assert max(len(units_of(Span(begin, begin + 30 * DAY))) for begin in begins) <= 17
